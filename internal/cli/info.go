package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"dunlin/internal/api/admin"
)

type infoCmd struct {
	Env  bool          `name:"env" help:"Print shell variables: eval \"$(dunlin info --env)\"."`
	Wait time.Duration `name:"wait" placeholder:"30s" help:"Wait so long for the instance to be ready."`
}

// Run prints how to reach the instance; it succeeds once that is ready.
func (c *infoCmd) Run(s *session) error {
	i, err := s.waitInfo(s.ctx, c.Wait)
	if err != nil {
		return err
	}
	switch {
	case s.JSON:
		return s.printJSON(i)
	case c.Env:
		return s.printEnv(i)
	}
	list := [][2]string{
		{"host name", i.HostName},
		{"MQTT (TLS)", i.MQTT},
		{"MQTT (plain)", i.Plain},
		{"HTTPS", i.HTTPS},
		{"console", i.Console},
		{"metrics", i.Metrics},
		{"CA certificate", i.CAFile},
		{"data directory", i.DataDir},
		{"version", i.Version},
		{"event hub name", fmt.Sprintf("%s (%s)", i.EventHub.Name, count(i.EventHub.Partitions, "partition", "partitions"))},
		{"limits", limitsOf(&i.Hub)},
		{"indexes", strings.Join(i.Hub.Indexes, ", ")},
		{"admin token", i.Admin.Token},
	}
	if err := pairs(s.out, list); err != nil {
		return err
	}
	s.printf("\nConnection strings of the hub %s:\n", i.Hub.Name)
	var policies [][2]string
	for _, name := range policyNames(i) {
		policies = append(policies, [2]string{"  " + name, i.Hub.ConnectionStrings[name]})
	}
	if err := pairs(s.out, policies); err != nil {
		return err
	}
	s.printf("\nEvent Hubs-compatible endpoint:\n  %s\n", i.EventHub.ConnectionString)
	for _, w := range i.Warnings {
		s.notef("\nNote: %s\n", w)
	}
	return nil
}

// limitsOf says in one line what the hub limits.
func limitsOf(h *admin.HubInfo) string {
	if h.Tier == nil {
		return h.Profile + " sizes, no tier"
	}
	return fmt.Sprintf("%s sizes, tier %s, %d of %d messages today", h.Profile, h.Tier.Name, h.Tier.Messages, h.Tier.Limit)
}

// policyNames lists the policies, the one with all rights first.
func policyNames(i admin.Info) []string {
	var names []string
	for name := range i.Hub.ConnectionStrings {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if (a == "iothubowner") != (b == "iothubowner") {
			if a == "iothubowner" {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	return names
}

// printEnv prints assignments that a POSIX shell can evaluate. Names that
// begin with DUNLIN_ are flags of this program; the others are what samples of
// the public SDKs read.
func (s *session) printEnv(i admin.Info) error {
	for _, v := range [][2]string{
		{"DUNLIN_URL", i.HTTPS},
		{"DUNLIN_TOKEN", i.Admin.Token},
		{"DUNLIN_CA", i.CAFile},
		{"NODE_EXTRA_CA_CERTS", i.CAFile},
		{"IOTHUB_HOST_NAME", i.HostName},
		{"IOTHUB_MQTT", i.MQTT},
		{"IOTHUB_HTTPS", i.HTTPS},
		{"IOTHUB_CONNECTION_STRING", i.Hub.ConnectionStrings["iothubowner"]},
		{"IOTHUB_SERVICE_CONNECTION_STRING", i.Hub.ConnectionStrings["service"]},
		{"EVENTHUB_CONNECTION_STRING", i.EventHub.ConnectionString},
		{"EVENTHUB_NAME", i.EventHub.Name},
	} {
		s.printf("export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`))
	}
	return nil
}

// waitInfo asks the instance how to reach it, until it answers or wait is over.
func (s *session) waitInfo(ctx context.Context, wait time.Duration) (admin.Info, error) {
	const pause = 50 * time.Millisecond
	if wait > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, wait)
		defer cancel()
	}
	retry := time.NewTicker(pause)
	defer retry.Stop()
	for {
		i, err := s.askInfo(ctx)
		if err == nil || wait <= 0 || !worthWaiting(err) {
			return i, err
		}
		select {
		case <-ctx.Done():
			return i, fmt.Errorf("not ready after %s: %w", wait, err)
		case <-retry.C:
		}
	}
}

func (s *session) askInfo(ctx context.Context) (admin.Info, error) {
	c, err := s.connect()
	if err != nil {
		return admin.Info{}, err
	}
	const answer = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, answer)
	defer cancel()
	return c.info(ctx)
}

// worthWaiting reports whether time may cure an error.
func worthWaiting(err error) bool {
	if _, ok := errors.AsType[*usageError](err); ok {
		return false
	}
	answer, ok := errors.AsType[*apiError](err)
	return !ok || answer.Status >= http.StatusInternalServerError
}
