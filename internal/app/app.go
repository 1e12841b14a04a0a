package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/api/admin"
	"dunlin/internal/door/front"
	"dunlin/internal/door/httpd"
	"dunlin/internal/engine/eventlog"
	"dunlin/internal/engine/state"
	"dunlin/internal/trust/guard"
	"dunlin/internal/trust/pki"
)

// App is one instance of the platform.
type App struct {
	cfg      Config
	version  string
	logger   *slog.Logger
	started  time.Time
	warnings []string

	data     *dataDir
	token    string // of the administrator
	registry *prometheus.Registry
	pki      *pki.Authority
	state    state.DB
	log      eventlog.Log
	guard    *guard.Log
	files    files
	rooms    rooms

	// Doors; nil where the role or the address is not wanted.
	mqtt      *front.Server
	mqttPlain *front.Server
	mqttWS    *front.Server // connections that come from the HTTPS door
	https     *httpd.Server
	httpsOn   net.Listener
	metrics   *http.Server
	metricsOn net.Listener

	endConnects context.CancelFunc // ends connects that are being decided
	ready       atomic.Bool
	draining    chan struct{} // closed when the end begins
	// closers undo New, last first. Run takes over those that need order.
	closers []func() error
}

// Build says what is running.
type Build struct {
	Version string
}

// New opens everything that an instance needs, the listeners included, so that
// whatever is wrong is said before anything is served. Run must follow, or
// Close. ctx bounds the opening only.
func New(ctx context.Context, cfg Config, build Build, logger *slog.Logger) (*App, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	a := &App{
		cfg: cfg, version: build.Version, logger: logger, started: time.Now(),
		draining: make(chan struct{}),
	}
	if err := a.open(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

func (a *App) open(ctx context.Context) error {
	var err error
	if a.data, err = openDataDir(a.cfg.Data); err != nil {
		return err
	}
	a.closers = append(a.closers, a.data.close)
	if err := a.data.removeInstance(); err != nil {
		return fmt.Errorf("remove the traces of an earlier instance: %w", err)
	}
	if a.token, err = a.data.adminToken(); err != nil {
		return err
	}
	a.registry = newRegistry(a.version)
	if a.pki, err = pki.Open(pki.Config{
		Dir: a.data.join(pkiDir), HostName: a.cfg.HostName, Aliases: a.cfg.HostAliases,
		CertFile: a.cfg.TLSCert, KeyFile: a.cfg.TLSKey, CAFile: a.cfg.TLSCA,
	}); err != nil {
		return err
	}
	if err := a.openEngines(ctx); err != nil {
		return err
	}
	if a.guard, err = guard.Open(ctx, a.state, a.room("guard"), a.registry); err != nil {
		return err
	}
	if err := a.openRooms(ctx); err != nil {
		return err
	}
	return a.openDoors(ctx)
}

// room gives the logger of a part of the house.
func (a *App) room(name string) *slog.Logger { return a.logger.With(slog.String("room", name)) }

// warn tells of something that works in another way than wanted. It is logged
// once and shown by dunlin info.
func (a *App) warn(text string) {
	if text != "" {
		a.warnings = append(a.warnings, text)
		a.logger.Warn("not as configured", slog.String("detail", text))
	}
}

// Close gives back what New has opened. It is only for an App that is not run.
func (a *App) Close() error {
	var errs []error
	for _, c := range slices.Backward(a.closers) {
		errs = append(errs, c())
	}
	a.closers = nil
	return errors.Join(errs...)
}

// Ready answers nil while the instance does its work.
func (a *App) Ready(context.Context) error {
	select {
	case <-a.draining:
		return errors.New("stopping")
	default:
	}
	if !a.ready.Load() {
		return errors.New("starting")
	}
	return nil
}

// Instance says how programs on this machine reach the instance.
func (a *App) Instance() Instance {
	i := Instance{
		PID: os.Getpid(), Started: a.started, Version: a.version, HostName: a.cfg.HostName,
		HTTPS: dialAddr(a.httpsOn.Addr()), CAFile: a.pki.CAFile(), CertFile: a.cfg.TLSCert, Token: a.token,
	}
	if a.mqtt != nil {
		i.MQTT = dialAddr(a.mqtt.Addr())
	}
	return i
}

// How long the parts of an orderly end may take.
const (
	settleTime   = 20 * time.Second // for the log to settle what was read
	requestTime  = 5 * time.Second  // for HTTP requests to end
	eventTime    = 5 * time.Second  // for events of changes to be appended
	renewalCheck = 6 * time.Hour
)

// Run serves until ctx ends, then drains: nothing is accepted or read any
// more, what was read is settled and acknowledged, and only then are
// connections and engines closed. It can be called once.
func (a *App) Run(ctx context.Context) error {
	// What fails later ends the instance; the first reason counts.
	failures := make(chan error, 1)
	fail := func(err error) {
		select {
		case failures <- err:
		default:
		}
	}
	// Doors and rooms outlive ctx: the drain decides when they end.
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	var doors, background sync.WaitGroup
	start := func(group *sync.WaitGroup, name string, run func() error) {
		group.Go(func() {
			if err := run(); err != nil {
				fail(fmt.Errorf("%s: %w", name, err))
			}
		})
	}
	start(&background, "refused connects", func() error { return a.guard.Run(work) })
	start(&background, "certificates", func() error { return a.renewCertificates(work) })
	a.rooms.start(work, func(name string, run func() error) { start(&background, name, run) })
	a.startFiles(work, func(name string, run func() error) { start(&background, name, run) })
	for name, f := range a.fronts() {
		start(&doors, name, func() error { return f.Serve(work) })
	}
	start(&doors, "https", func() error { return a.https.Serve(a.httpsOn) })
	if a.metrics != nil {
		start(&doors, "metrics", func() error { return serveHTTP(a.metrics, a.metricsOn) })
	}

	if err := a.data.writeInstance(a.Instance()); err != nil {
		fail(err)
	} else {
		a.ready.Store(true)
		a.logReady()
	}
	var failure error
	select {
	case <-ctx.Done():
	case failure = <-failures:
		a.logger.Error("stopping because a part of the instance failed", slog.Any("error", failure))
	}
	return errors.Join(failure, a.drain(work, stopWork, &doors, &background))
}

// fronts lists the servers of device connections by name.
func (a *App) fronts() map[string]*front.Server {
	m := map[string]*front.Server{}
	for name, f := range map[string]*front.Server{"mqtt": a.mqtt, "mqtt_plain": a.mqttPlain, "mqtt_websocket": a.mqttWS} {
		if f != nil {
			m[name] = f
		}
	}
	return m
}

func (a *App) logReady() {
	attrs := []any{
		slog.Duration("after", time.Since(a.started).Round(time.Millisecond)),
		slog.String("version", a.version),
		slog.String("data", a.data.path),
		slog.String("https", a.httpsOn.Addr().String()),
	}
	if a.mqtt != nil {
		attrs = append(attrs, slog.String("mqtt", a.mqtt.Addr().String()))
	}
	if a.mqttPlain != nil {
		attrs = append(attrs, slog.String("mqtt_plain", a.mqttPlain.Addr().String()))
	}
	if a.metricsOn != nil {
		attrs = append(attrs, slog.String("metrics", a.metricsOn.Addr().String()))
	}
	a.logger.Info("ready", attrs...)
}

// drain ends the instance in the order that loses nothing.
func (a *App) drain(work context.Context, stopWork func(), doors, background *sync.WaitGroup) error {
	began := time.Now()
	a.logger.Info("stopping: nothing is read any more, waiting until what was read is stored")
	close(a.draining)
	a.ready.Store(false)
	errs := []error{a.data.removeInstance()}

	for _, f := range a.fronts() {
		f.Drain()
	}
	if a.endConnects != nil {
		a.endConnects()
	}
	a.rooms.commands.Drain() // calls that wait for a device
	// Settled messages are acknowledged on connections that are still open.
	settling := a.settle(work)
	errs = append(errs, settling)
	var closing sync.WaitGroup
	for _, f := range a.fronts() {
		closing.Go(f.Close)
	}
	closing.Wait()
	requests, cancel := context.WithTimeout(work, requestTime)
	defer cancel()
	errs = append(errs, a.https.Shutdown(requests))
	if a.metrics != nil {
		errs = append(errs, a.metrics.Shutdown(requests))
	}
	doors.Wait()
	stopWork() // rooms store what they hold
	background.Wait()
	errs = append(errs, a.rooms.twins.Close(), a.rooms.commands.Close(), a.closeLog(context.WithoutCancel(work), settling == nil), a.files.store.Close(), a.state.Close(), a.data.close())
	a.closers = nil
	err := errors.Join(errs...)
	a.logger.Info("stopped", slog.Duration("after", time.Since(began).Round(time.Millisecond)), slog.Bool("clean", err == nil))
	return err
}

// settle waits until everything appended is durable or has failed. A disk that
// does not answer must not keep the process for ever: what is not settled was
// not acknowledged and will be sent again.
func (a *App) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	if err := eventlog.Settle(ctx, a.log); err != nil {
		return fmt.Errorf("the event log did not settle within %s; messages not acknowledged will be sent again by their devices: %w", settleTime, err)
	}
	return nil
}

// closeLog appends the events of what was changed to the end and closes the
// log. Events that do not get there are appended by the next start.
func (a *App) closeLog(ctx context.Context, settled bool) error {
	limit := eventTime
	if !settled {
		limit = 0 // the log does not answer
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := a.rooms.outbox.Drain(ctx); err != nil {
		a.logger.Warn("not every event of a change is in the event log yet; the next start goes on", slog.Any("error", err))
	}
	done := make(chan error, 1)
	go func() { done <- a.log.Close() }()
	select {
	case err := <-done:
		return err
	case <-time.After(limit + time.Second):
		return errors.New("the event log could not be closed")
	}
}

// renewCertificates looks now and then if the server certificate is near its
// end, or was replaced on disk.
func (a *App) renewCertificates(ctx context.Context) error {
	t := time.NewTicker(renewalCheck)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-t.C:
			switch changed, err := a.pki.Renew(now); {
			case err != nil:
				a.logger.Error("server certificate not renewed, the old one stays in use",
					slog.Any("error", err), slog.Time("ends", a.pki.NotAfter()))
			case changed:
				a.logger.Info("server certificate renewed", slog.Time("ends", a.pki.NotAfter()))
			}
		}
	}
}

// Info says how clients reach the instance.
func (a *App) Info(context.Context) (admin.Info, error) {
	host := a.cfg.HostName
	httpsPort := portOf(a.httpsOn.Addr())
	i := admin.Info{
		HostName: host,
		CAFile:   a.pki.CAFile(),
		HTTPS:    "https://" + net.JoinHostPort(host, httpsPort),
		Console:  "https://" + net.JoinHostPort(host, httpsPort) + "/",
		Hub:      admin.HubInfo{Name: a.cfg.HubName, ConnectionStrings: map[string]string{}, Profile: a.cfg.Hub.Profile, Indexes: a.cfg.Hub.Indexes},
		EventHub: admin.EventHubInfo{Name: a.cfg.HubName, Partitions: a.log.Partitions()},
		Admin:    admin.AccessInfo{Token: a.token},
		Version:  a.version,
		PID:      os.Getpid(),
		DataDir:  a.data.path,
		Warnings: a.warnings,
	}
	if used, limit := a.rooms.quota.Day(); limit > 0 {
		i.Hub.Tier = &admin.TierInfo{Name: a.rooms.quota.Describe(), Messages: used, Limit: limit}
	}
	if httpsPort == "443" {
		i.Console = "https://" + bracket(host) + "/"
	}
	if a.mqtt != nil {
		i.MQTT = net.JoinHostPort(host, portOf(a.mqtt.Addr()))
	}
	if a.mqttPlain != nil {
		i.Plain = net.JoinHostPort(host, portOf(a.mqttPlain.Addr()))
	}
	if a.metricsOn != nil {
		i.Metrics = "http://" + dialAddr(a.metricsOn.Addr()) + "/metrics"
	}
	keys := a.rooms.policyKeys()
	for name, key := range keys {
		i.Hub.ConnectionStrings[name] = "HostName=" + host + ";SharedAccessKeyName=" + name + ";SharedAccessKey=" + key
	}
	i.EventHub.ConnectionString = "Endpoint=sb://" + bracket(host) + "/;SharedAccessKeyName=service;SharedAccessKey=" +
		keys["service"] + ";EntityPath=" + a.cfg.HubName
	return i, nil
}

// bracket writes an IPv6 address as it stands in a URL.
func bracket(host string) string {
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return "[" + host + "]"
	}
	return host
}
