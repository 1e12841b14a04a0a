package app

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"dunlin/internal/api/admin"
	"dunlin/internal/api/blob"
	"dunlin/internal/door/front"
	"dunlin/internal/door/httpd"
	"dunlin/internal/engine/eventlog/natslog"
	"dunlin/internal/engine/state/postgres"
	"dunlin/internal/engine/state/sqlite"
	"dunlin/internal/trust/guard"
)

// openEngines opens the state store and the event log that the configuration
// asks for.
func (a *App) openEngines(ctx context.Context) error {
	database, err := secret("database", a.cfg.Database)
	if err != nil {
		return err
	}
	if database != "" {
		a.state, err = postgres.Open(ctx, postgres.Config{URL: database})
	} else {
		a.state, err = sqlite.Open(ctx, sqlite.Config{Path: a.data.join(stateFile)})
	}
	if err != nil {
		return fmt.Errorf("open the state store: %w", err)
	}
	a.closers = append(a.closers, a.state.Close)

	nats, err := secret("nats", a.cfg.NATS)
	if err != nil {
		return err
	}
	cfg := natslog.Config{
		Partitions: a.cfg.Partitions,
		MaxAge:     a.cfg.RetentionAge,
		MaxBytes:   int64(a.cfg.RetentionBytes),
		Gap:        a.cfg.CommitGap,
		Durability: natslog.Durability(a.cfg.Durability),
		URL:        nats,
		Logger:     a.room("eventlog"),
		Registerer: a.registry,
	}
	if cfg.Gap == 0 {
		cfg.Gap = -1 // its zero means the default, ours means none
	}
	if nats == "" {
		cfg.Dir = a.data.join(logDir)
	}
	a.log, err = natslog.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("open the event log: %w", err)
	}
	a.closers = append(a.closers, a.log.Close)
	return nil
}

// openDoors opens every listener.
func (a *App) openDoors(ctx context.Context) error {
	if err := a.openMQTT(ctx); err != nil {
		return err
	}
	var warning string
	var err error
	a.httpsOn, warning, err = listenHTTPS(ctx, a.cfg.HTTPSAddr, listenTCP)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.httpsOn.Close)
	a.warn(warning)
	d := httpd.Deps{
		TLS: a.pki.TLS(), Ready: a.Ready, Version: a.version, Failed: a.httpsFailed,
		Logger: a.room("httpd"), Registerer: a.registry,
	}
	d.Admin = admin.New(admin.Deps{
		Token: a.token, Info: a.Info, Log: a.log, Problems: a.guard, Hub: a.rooms.services,
		Logger: a.room("admin"), Done: a.draining,
	})
	if a.cfg.has(roleAPI) {
		d.IoTHub = a.rooms.iothub
	}
	d.Blobs, d.IsBlob = blob.New(a.blobSurface()), blob.Wanted
	if a.mqttWS != nil {
		open := a.rooms.mqtt.Open("MQTT-WS")
		d.MQTT = func(nc net.Conn) { a.mqttWS.ServeConn(nc, open) }
	}
	a.https = httpd.New(d)
	if a.cfg.MetricsAddr == off || a.cfg.MetricsAddr == "" {
		return nil
	}
	a.metricsOn, warning, err = listenMetrics(ctx, a.cfg.MetricsAddr, listenTCP)
	if err != nil {
		return err
	}
	a.closers = append(a.closers, a.metricsOn.Close)
	a.warn(warning)
	a.metrics = metricsServer(a.registry, a.metricsOn.Addr(), a.Ready)
	return nil
}

// openMQTT opens the fronts of device connections.
func (a *App) openMQTT(ctx context.Context) error {
	if !a.cfg.has(roleGateway) {
		return nil
	}
	cfg := front.Config{
		TLS:    a.pki.TLS(),
		Open:   a.rooms.mqtt.Open("MQTT"),
		Limits: front.Limits{MaxConns: a.cfg.MaxConnections},
		Failed: a.handshakeFailed,
		Logger: a.room("front"),
	}
	listen := func(name, setting, addr string, cfg front.Config) (*front.Server, error) {
		f, err := front.Listen(ctx, addr, cfg)
		if err != nil {
			return nil, bindError(setting, addr, err)
		}
		a.closers = append(a.closers, func() error { f.Close(); return nil })
		a.registry.MustRegister(newFrontCollector(name, f))
		return f, nil
	}
	var err error
	if a.mqtt, err = listen("mqtt", "mqtt-addr", a.cfg.MQTTAddr, cfg); err != nil {
		return err
	}
	cfg.TLS = nil
	if a.cfg.MQTTPlainAddr != "" {
		if a.mqttPlain, err = listen("mqtt_plain", "mqtt-plain-addr", a.cfg.MQTTPlainAddr, cfg); err != nil {
			return err
		}
	}
	// No address: its connections come from the HTTPS door.
	a.mqttWS, err = listen("mqtt_websocket", "https-addr", "", cfg)
	return err
}

// handshakeFailed keeps why a connection ended before its first packet.
func (a *App) handshakeFailed(remote netip.AddrPort, err error) { a.failedOn("TLS", remote, err) }

// httpsFailed keeps why a connection to the HTTPS port ended before its first
// request: devices come there too, over WebSockets and HTTPS.
func (a *App) httpsFailed(remote netip.AddrPort, err error) { a.failedOn("HTTPS", remote, err) }

func (a *App) failedOn(protocol string, remote netip.AddrPort, err error) {
	r := guard.Refusal{Reason: front.KindOther, Detail: err.Error(), Remote: remote.Addr().Unmap().String(), Protocol: protocol}
	if he, ok := err.(*front.HandshakeError); ok { //nolint:errorlint // documented to be this very type
		if he.Kind == front.KindShutdown || he.Kind == front.KindSilent {
			return // says nothing about a device
		}
		r.Reason = he.Kind
	}
	a.guard.Add(r)
}
