package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"

	"dunlin/internal/app"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1 // it was tried and failed
	exitUsage = 2 // the command line cannot be meant
)

// Streams are the standard streams of the process.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// globals are the flags of every command.
type globals struct {
	Data  string `name:"data" env:"DUNLIN_DATA" default:"~/.local/share/dunlin" placeholder:"DIR" help:"Data directory of the instance (${default})."`
	JSON  bool   `name:"json" help:"Print JSON instead of text."`
	URL   string `name:"url" env:"DUNLIN_URL" placeholder:"URL" help:"HTTPS address of an instance elsewhere, instead of the one that --data finds. Needs --token."`
	Token string `name:"token" env:"DUNLIN_TOKEN" placeholder:"TOKEN" help:"Its admin token."`
	CA    string `name:"ca" env:"DUNLIN_CA" placeholder:"FILE" help:"Its CA certificate (PEM), unless this machine trusts it."`
}

// grammar is the whole command line.
type grammar struct {
	globals

	Serve         serveCmd         `cmd:"" help:"Run the platform."`
	Demo          demoCmd          `cmd:"" help:"Run the platform with simulated devices, and show what to try."`
	Simulate      simulateCmd      `cmd:"" help:"Simulate devices that send telemetry over MQTT."`
	Info          infoCmd          `cmd:"" help:"Show how to reach the running instance."`
	Tail          tailCmd          `cmd:"" help:"Show what devices send, as it is stored."`
	Monitor       monitorCmd       `cmd:"" help:"Watch live what happens: telemetry, twin changes, connections, lifecycle."`
	Device        deviceCmd        `cmd:"" help:"Register and administer devices."`
	Twin          twinCmd          `cmd:"" help:"Read and change device twins, and query them."`
	Method        methodCmd        `cmd:"" help:"Call direct methods of devices."`
	Message       messageCmd       `cmd:"" help:"Send messages to devices, and see what waits for them."`
	Job           jobCmd           `cmd:"" help:"Work on many devices at once: twins, methods, import and export."`
	Configuration configurationCmd `cmd:"" help:"Set desired properties of many devices by a condition, and see who has them."`
	Query         queryCmd         `cmd:"" help:"Query devices, modules and their twins."`
	Stream        streamCmd        `cmd:"" help:"Run and check stream queries in the Stream Analytics language."`
	File          fileCmd          `cmd:"" help:"See and fetch files that devices have uploaded."`
	Certificate   certificateCmd   `cmd:"" help:"Register CA certificates that sign device certificates."`
	Policy        policyCmd        `cmd:"" help:"Show shared access policies."`
	Doctor        doctorCmd        `cmd:"" help:"Check this machine and the instance, and say what to do."`
	Version       versionCmd       `cmd:"" help:"Print the version."`
	Completion    completionCmd    `cmd:"" help:"Print a completion script for a shell."`
}

// session is what a command runs with.
type session struct {
	globals
	ctx     context.Context //nolint:containedctx // lives as long as one command
	in      io.Reader
	out     io.Writer
	err     io.Writer
	version string
	model   *kong.Application
}

// usageError is an error of the command line, found by a command.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exited carries the exit code that kong wants, past its parser.
type exited struct{ code int }

// Main runs one command line and gives the exit code. ctx ends it early.
func Main(ctx context.Context, args []string, s Streams, version string) (code int) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case exited:
			code = v.code
		default:
			panic(v)
		}
	}()
	var g grammar
	parser, err := kong.New(&g,
		kong.Name("dunlin"),
		kong.Description("Dunlin, an IoT platform that the public Azure IoT SDKs work against. Start with: dunlin demo"),
		kong.Writers(s.Out, s.Err),
		kong.Exit(func(code int) { panic(exited{code}) }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true}),
		kong.Vars{"fleets": fleetNames()},
		kong.PostBuild(nameVariables),
	)
	if err != nil {
		panic("cli: " + err.Error()) // a mistake in the grammar, found by the first test
	}
	kctx, err := parser.Parse(args)
	if err != nil {
		var pe *kong.ParseError
		if errors.As(err, &pe) && len(pe.Context.Path) > 0 {
			fmt.Fprintf(s.Err, "dunlin: %v\nSee: dunlin %s--help\n", err, commandWords(pe.Context))
		} else {
			fmt.Fprintf(s.Err, "dunlin: %v\n", err)
		}
		return exitUsage
	}
	run := &session{
		globals: g.globals, ctx: ctx, in: s.In, out: s.Out, err: s.Err,
		version: version, model: parser.Model,
	}
	if run.Data, err = dataDir(run.Data); err == nil {
		err = kctx.Run(run)
	}
	return run.report(err)
}

// report says what went wrong and gives the exit code.
func (s *session) report(err error) int {
	if err == nil {
		return exitOK
	}
	if _, ok := errors.AsType[*silentError](err); ok {
		return exitError
	}
	fmt.Fprintf(s.err, "dunlin: %v\n", err)
	if _, ok := errors.AsType[*usageError](err); ok {
		return exitUsage
	}
	return exitError
}

// silentError ends a command that has already said what is wrong.
type silentError struct{}

func (*silentError) Error() string { return "" }

// commandWords gives the command that was recognised, with a space behind.
func commandWords(c *kong.Context) string {
	var b strings.Builder
	for _, p := range c.Path {
		if p.Command != nil {
			b.WriteString(p.Command.Name + " ")
		}
	}
	return b.String()
}

// nameVariables gives every setting of app.Config its variable, so that file,
// flag and environment use one name.
func nameVariables(k *kong.Kong) error {
	settings := map[string]bool{"config": true}
	for _, name := range app.Flags() {
		settings[name] = true
	}
	return kong.Visit(k.Model, func(v kong.Visitable, next kong.Next) error {
		if f, ok := v.(*kong.Flag); ok && settings[f.Name] && len(f.Envs) == 0 {
			name := "DUNLIN_" + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
			f.Envs = []string{name}
			f.Tag.Envs = f.Envs
		}
		return next(nil)
	})
}

// configFile is a flag that reads settings for all flags that are not given.
type configFile string

// BeforeResolve reads the file.
func (configFile) BeforeResolve(ctx *kong.Context, trace *kong.Path) error {
	path, ok := ctx.FlagValue(trace.Flag).(configFile)
	if !ok || path == "" {
		return nil
	}
	values, err := app.ReadFile(string(path))
	if err != nil {
		return err
	}
	ctx.AddResolver(kong.ResolverFunc(func(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
		text, ok := values[flag.Name]
		if !ok || variableSet(flag) {
			return nil, nil //nolint:nilnil // this is how a resolver says that it has nothing
		}
		return text, nil
	}))
	return nil
}

// variableSet reports whether the environment sets a flag; it wins over a file.
func variableSet(flag *kong.Flag) bool {
	for _, name := range flag.Envs {
		if _, ok := os.LookupEnv(name); ok {
			return true
		}
	}
	return false
}

// dataDir makes a path absolute, so that it means the same to everyone who is
// told of it.
func dataDir(path string) (string, error) {
	path, err := expandHome(path)
	if err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return path, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usagef("no home directory (%v): say where the data directory is with --data DIR or DUNLIN_DATA", err)
	}
	return filepath.Join(home, rest), nil
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}
