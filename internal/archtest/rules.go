package archtest

import "strings"

// A room is a directory with one purpose. Packages below it belong to it.
type room struct {
	path  string // relative to the module root, as imports spell it
	floor int    // position in floors
	test  bool   // the package exists for tests only
}

// floors lists, low to high, the directories that may only import from the
// lines above them. A directory with "/*" holds one room per sub-directory;
// without, it is one room itself, also when it lies in a directory with "/*".
// Rooms of one line never import each other.
var floors = [][]string{
	{"internal/iot"},
	{"internal/lang/diag"}, // what all languages say of a wrong text
	{"internal/wire/*", "internal/lang/*"},
	{"internal/engine/*"},
	{"internal/engine/leader"}, // above state
	{"internal/engine/outbox"}, // between state and eventlog: it knows both contracts
	{"internal/trust/*"},
	{"internal/things/*", "internal/insights/*", "internal/actions/*"},
	{"internal/hub"},
	{"internal/api/*"},
	{"internal/door/front"}, // the threshold: doors stand on it, it knows none of them
	{"internal/door/*"},
	{"internal/edge", "internal/simulate"},
	{"internal/app"},
	{"internal/cli"},
	{"cmd/*", "console"},
	{"internal/compattest"},
	{"internal/archtest", "test/*"}, // black-box tests may use anything
}

// enginesOf is the floor whose sub-packages are concrete engines, and namers
// are the rooms that may name one.
const (
	enginesOf = "internal/engine/"
	namer     = "internal/app"
)

// shared lists sub-packages of a contract that are no engine: what its engines
// have in common. Nobody else may import them.
var shared = map[string]bool{
	"internal/engine/state/commit": true,
}

// homes says which packages may import a third-party module, by prefix; a
// module without a line may not be imported at all. Tests may import any
// module that has a line. "..." stands for every package.
var homes = map[string][]string{
	"github.com/alecthomas/kong":          {"cmd/", "internal/cli"},
	"github.com/coder/websocket":          {"internal/door/httpd"},
	"github.com/dlclark/regexp2":          {"internal/insights/stream/script"},
	"github.com/dop251/goja":              {"internal/insights/stream/script"},
	"github.com/jackc/pgx":                {"internal/engine/state/postgres", "internal/engine/state/statetest"},
	"github.com/mattn/go-isatty":          {"cmd/", "internal/cli"},
	"github.com/minio/highwayhash":        {"internal/engine/eventlog/natslog"},
	"github.com/nats-io":                  {"internal/engine/eventlog/natslog", "internal/engine/bus/natsbus"},
	"github.com/pressly/goose":            {"internal/engine/state/"},
	"github.com/prometheus/client_golang": {"..."},
	"github.com/rogpeppe/go-internal":     {},
	"go.uber.org/goleak":                  {},
	"go.yaml.in/yaml":                     {"internal/app"},
	"golang.org/x/sys":                    {"internal/door/front", "internal/app", "internal/engine/"},
	"modernc.org/libc":                    {"internal/engine/state/sqlite"},
	"modernc.org/sqlite":                  {"internal/engine/state/sqlite"},
	"pgregory.net/rapid":                  {},
}

// bannedNames are names under which anything fits, so everything ends there.
var bannedNames = map[string]bool{
	"util": true, "utils": true, "common": true, "helper": true, "helpers": true, "manager": true,
	"managers": true, "types": true, "base": true, "misc": true, "models": true,
}

// maxLines is the length above which a hand-written file must be split.
const maxLines = 800

// roomOf finds the room of a package by its path below the module root.
func roomOf(pkg string) (r room, ok bool) {
	for i, line := range floors {
		for _, dir := range line {
			path, found := dir, pkg == dir || strings.HasPrefix(pkg, dir+"/")
			if parent, many := strings.CutSuffix(dir, "/*"); many {
				rest, below := strings.CutPrefix(pkg, parent+"/")
				if !below {
					continue
				}
				first, _, _ := strings.Cut(rest, "/")
				path, found = parent+"/"+first, true
			}
			if found && (!ok || path == dir) {
				r, ok = room{path: path, floor: i, test: isTestPackage(pkg)}, true
			}
		}
	}
	return r, ok
}

// isTestPackage reports whether a package exists for tests only: suites (their
// names end in "test"), fault wrappers, and everything under test/.
func isTestPackage(pkg string) bool {
	last := pkg[strings.LastIndexByte(pkg, '/')+1:]
	return strings.HasPrefix(pkg, "test/") || strings.HasSuffix(last, "test") || strings.HasPrefix(last, "fault")
}

// engineOf gives the concrete engine that a package is, or is a part of, by its
// path ("internal/engine/state/sqlite"); "" for contracts and suites.
func engineOf(pkg string) string {
	rest, ok := strings.CutPrefix(pkg, enginesOf)
	parts := strings.SplitN(rest, "/", 3)
	if !ok || len(parts) < 2 {
		return ""
	}
	engine := enginesOf + parts[0] + "/" + parts[1]
	if isTestPackage(engine) || shared[engine] {
		return ""
	}
	return engine
}

// homeOf finds the line of homes for an import path.
func homeOf(path string) ([]string, bool) {
	for prefix, dirs := range homes {
		if path == prefix || strings.HasPrefix(path, prefix+"/") {
			return dirs, true
		}
	}
	return nil, false
}
