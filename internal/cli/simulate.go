package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"dunlin/internal/app"
	"dunlin/internal/simulate"
)

type simulateCmd struct {
	Devices  int    `name:"devices" short:"n" placeholder:"N" group:"Devices" help:"How many devices (1, or all of --keys)."`
	Device   string `name:"device" placeholder:"ID" group:"Devices" help:"Id of the one device."`
	Prefix   string `name:"prefix" default:"sim-" placeholder:"TEXT" group:"Devices" help:"Ids are TEXT0, TEXT1 and so on (${default})."`
	Keys     string `name:"keys" placeholder:"FILE" group:"Devices" help:"Lines \"id base64key\", as device create --keys-out writes them."`
	Create   bool   `name:"create" default:"true" negatable:"" group:"Devices" help:"Register devices that do not exist yet (default yes)."`
	Protocol string `name:"protocol" default:"mqtt" enum:"mqtt,mqtt-plain" placeholder:"mqtt|mqtt-plain" group:"Devices" help:"mqtt over TLS (${default}) or mqtt-plain without."`

	ConnectionString string `name:"connection-string" placeholder:"TEXT" group:"Hub" help:"Connection string of a hub policy or of one device; default: the instance that --data finds."`
	Server           string `name:"server" placeholder:"HOST:PORT" group:"Hub" help:"Where MQTT is, when not on the host of the connection string and port 8883."`

	Fleet       string            `name:"fleet" placeholder:"NAME" group:"Messages" help:"What kind of devices: ${fleets}."`
	Template    string            `name:"template" placeholder:"TEXT" group:"Messages" help:"Payload with placeholders such as {{walk 18 26 0.1}}, {{seq}}, {{time}}, {{device}}."`
	TemplateIn  string            `name:"template-file" placeholder:"FILE" group:"Messages" help:"Payload from a file."`
	Property    map[string]string `name:"property" placeholder:"NAME=VALUE" group:"Messages" help:"Application property; values are templates too. May be repeated."`
	ContentType string            `name:"content-type" placeholder:"TYPE" group:"Messages" help:"Content type of the messages (application/json for fleets and replays)."`
	QoS         int               `name:"qos" default:"1" placeholder:"0|1" group:"Messages" help:"Quality of service (${default})."`
	Seed        uint64            `name:"seed" placeholder:"N" group:"Messages" help:"Equal seeds give equal payloads."`

	Rate      float64       `name:"rate" placeholder:"N" group:"Pace" help:"Messages per second of each device."`
	TotalRate float64       `name:"total-rate" placeholder:"N" group:"Pace" help:"Messages per second of all devices together."`
	Flat      bool          `name:"flat" group:"Pace" help:"No pace: as fast as messages are acknowledged."`
	Count     int64         `name:"count" placeholder:"N" group:"Pace" help:"End after so many messages of each device."`
	Duration  time.Duration `name:"duration" placeholder:"DURATION" group:"Pace" help:"End after so long."`
	InFlight  int           `name:"in-flight" placeholder:"N" group:"Pace" help:"Messages of a device that may wait for their acknowledgement (64)."`
	GiveUp    time.Duration `name:"give-up" placeholder:"DURATION" group:"Pace" help:"A device that cannot connect for so long has failed (2m)."`

	Replay       string   `name:"replay" placeholder:"FILE.csv" group:"Replay" help:"Send the rows of a CSV file; their numbers become message ids."`
	Speedup      float64  `name:"speedup" placeholder:"N" group:"Replay" help:"How much faster than recorded; without it, --rate is the pace, or there is none."`
	TimeColumn   string   `name:"time-column" placeholder:"NAME" group:"Replay" help:"Column that gives the pace."`
	ValueColumns []string `name:"value-columns" placeholder:"NAME,..." group:"Replay" help:"Columns of the body (all)."`
	DeviceColumn string   `name:"device-column" placeholder:"NAME" group:"Replay" help:"Column with the device id (the whole file is one device)."`

	Quiet bool `name:"quiet" short:"q" help:"No line of progress."`
}

// Run simulates until everything is sent or the context ends.
func (c *simulateCmd) Run(s *session) error {
	cfg := simulate.Config{
		ConnectionString: c.ConnectionString, Server: c.Server, CAFile: s.CA,
		Plain: c.Protocol == "mqtt-plain",

		Devices: c.Devices, Prefix: c.Prefix, Device: c.Device, KeysFile: c.Keys,
		Create: c.Create && c.Keys == "" && !strings.Contains(c.ConnectionString, "DeviceId="),

		Fleet: c.Fleet, Template: c.Template, TemplateFile: c.TemplateIn, Properties: c.Property,
		ContentType: c.ContentType, QoS: c.QoS, Rate: c.Rate, TotalRate: c.TotalRate, Flat: c.Flat,
		Count: c.Count, Duration: c.Duration, InFlight: c.InFlight, GiveUp: c.GiveUp, Seed: c.Seed,

		Replay: c.Replay, Speedup: c.Speedup, TimeColumn: c.TimeColumn, ValueColumns: c.ValueColumns, DeviceColumn: c.DeviceColumn,

		Terminal: terminal(s.err),
		Log:      slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	if !c.Quiet {
		cfg.Progress = s.err
	}
	if c.ConnectionString == "" {
		if err := s.localHub(s.ctx, &cfg); err != nil {
			return err
		}
	}
	sum, err := simulate.Run(s.ctx, cfg)
	if err != nil && sum.Sent == 0 && sum.Failed == 0 {
		return err // it did not begin
	}
	if s.JSON {
		err = errors.Join(s.printJSON(sum), err)
	} else {
		err = errors.Join(sum.WriteTable(s.out), err)
	}
	return err
}

// localHub points a simulation at the instance that the session finds.
func (s *session) localHub(ctx context.Context, cfg *simulate.Config) error {
	cl, err := s.connect()
	if err != nil {
		return fmt.Errorf("%w; or name a hub with --connection-string", err)
	}
	i, err := cl.info(ctx)
	if err != nil {
		return err
	}
	cfg.ConnectionString = i.Hub.ConnectionStrings["iothubowner"]
	cfg.HostName = i.HostName
	if s.URL == "" {
		// The name need not resolve here; the certificate names the loopback
		// address as well.
		local, err := app.ReadInstance(s.Data)
		if err != nil {
			return err
		}
		cfg.CAFile = i.CAFile
		cfg.REST = "https://" + local.HTTPS
		if cfg.Server == "" {
			cfg.Server = local.MQTT
			if cfg.Plain {
				cfg.Server = loopback(i.Plain)
			}
		}
		if cfg.Server == "" {
			return errors.New("the instance does not serve this protocol: start it with --mqtt-plain-addr, or use --protocol mqtt")
		}
		return nil
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return usagef("--url: %w", err)
	}
	cfg.REST = "https://" + u.Host
	if cfg.Server == "" {
		_, port, err := net.SplitHostPort(i.MQTT)
		if err != nil {
			return fmt.Errorf("the instance does not say where MQTT is: name it with --server")
		}
		cfg.Server = net.JoinHostPort(u.Hostname(), port)
	}
	return nil
}

// loopback gives an address of this instance as a program beside it reaches it.
func loopback(addr string) string {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return ""
	}
	return net.JoinHostPort("127.0.0.1", port)
}

// fleetNames lists the built-in fleets for the help.
func fleetNames() string {
	var names []string
	for _, f := range simulate.Fleets() {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}
