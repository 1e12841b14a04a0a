package cli

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/alecthomas/kong"

	"dunlin/internal/app"
)

// serveFlags are the settings of an instance.
type serveFlags struct {
	File configFile `name:"config" placeholder:"FILE" help:"YAML file with settings; its keys are the names of the flags below."`

	Settings app.Config `embed:""`
}

// settings gives the configuration with the data directory of the command line.
func (f *serveFlags) settings(s *session) (app.Config, error) {
	cfg := f.Settings
	cfg.Data = s.Data
	if f.File != "" {
		if err := cfg.Locate(string(f.File)); err != nil {
			return cfg, err
		}
	}
	return cfg, s.checkVariables()
}

// checkVariables refuses variables that look like settings and are none: a
// misspelt one would silently do nothing.
func (s *session) checkVariables() error {
	known := map[string]bool{}
	err := kong.Visit(s.model, func(v kong.Visitable, next kong.Next) error {
		if f, ok := v.(*kong.Flag); ok {
			for _, name := range f.Envs {
				known[name] = true
			}
		}
		return next(nil)
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "DUNLIN_") && !known[name] {
			errs = append(errs, usagef("the environment has %s, which is no setting: dunlin serve --help lists them all", name))
		}
	}
	return errors.Join(errs...)
}

type serveCmd struct {
	serveFlags
}

// Help is shown below the summary.
func (*serveCmd) Help() string {
	return "Every setting can stand in the file, in a variable (DUNLIN_HOST_NAME) or in a flag (--host-name); a flag wins over a variable, a variable over the file."
}

// Run serves until the context ends.
func (c *serveCmd) Run(s *session) error {
	cfg, err := c.settings(s)
	if err != nil {
		return err
	}
	logger := app.NewLogger(s.err, cfg)
	a, err := app.New(s.ctx, cfg, app.Build{Version: s.version}, logger)
	if err != nil {
		return err
	}
	return a.Run(s.ctx)
}

type versionCmd struct{}

// Run prints the version.
func (*versionCmd) Run(s *session) error {
	if s.JSON {
		return s.printJSON(map[string]string{
			"version": s.version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(s.out, "dunlin %s (%s, %s/%s)\n", s.version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
