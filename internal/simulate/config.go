package simulate

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Config is what a simulation does. Its fields are shaped like the flags of
// `dunlin simulate`; the zero value of an optional field means its default.
type Config struct {
	// Where the hub is.

	// ConnectionString is that of one device (DeviceId=, optionally
	// ModuleId=) or of a hub policy (SharedAccessKeyName=). With KeysFile it
	// may be left out if HostName is given.
	ConnectionString string
	HostName         string // name of the hub in user names and tokens; default: of the connection string
	Server           string // host:port of MQTT; default: the host name and port 8883 (1883 with Plain)
	REST             string // base URL of the service REST interface, for Create; default: https:// and the host name
	CAFile           string // PEM file of the authority that signed the server's certificate; default: the system's
	Plain            bool   // MQTT without TLS, for closed networks

	// Which devices.

	Devices  int    // how many; default 1, or all of KeysFile
	Prefix   string // ids are Prefix0, Prefix1, ...; default "sim-"
	Device   string // id of the one device, instead of Prefix and Devices
	KeysFile string // lines "id base64key"
	Create   bool   // register devices that do not exist yet; needs a policy with registry write permission

	// What they send.

	Fleet        string            // name of a built-in fleet; default the first of Fleets
	Template     string            // payload text, see Template; instead of Fleet
	TemplateFile string            // file with the payload text; instead of Template
	Properties   map[string]string // application properties, values are templates; names with "$." are system properties
	ContentType  string            // default application/json for fleets and recordings, else none
	QoS          int               // 0 or 1
	Rate         float64           // messages per second of each device; default that of the fleet, 1 for templates
	TotalRate    float64           // messages per second of all devices together; instead of Rate
	Flat         bool              // no pace: as fast as acknowledgements allow
	Count        int64             // messages of each device; 0 means no end
	Duration     time.Duration     // end after this long; 0 means no end

	// Replay of a recorded CSV file, instead of Fleet and Template. The
	// numbers of its rows become message ids.
	Replay       string
	Speedup      float64  // how much faster than recorded; 1 is the recorded pace, 0 is no pace (or Rate, if given)
	TimeColumn   string   // column that gives the pace
	ValueColumns []string // columns of the body beside the time; default: all
	DeviceColumn string   // column with the device id; default: the whole file is one device

	// Habits.

	InFlight   int           // unacknowledged messages of one device; default 64, at most 65535
	KeepAlive  time.Duration // default 180 s, at most 1177 s
	TokenTTL   time.Duration // life of a token; it is renewed by reconnecting when 85 % has passed. Default 1 h
	MaxBackoff time.Duration // longest pause between two attempts to connect; default 5 s
	GiveUp     time.Duration // a device that cannot connect for so long fails; default 2 min
	Drain      time.Duration // at the end, how long to wait for acknowledgements; default 10 s
	Connects   int           // connection attempts at a time; default 64
	Seed       uint64        // of all randomness in payloads; equal seeds give equal payloads

	// What is told meanwhile.

	Progress io.Writer    // gets a line of progress; nil means none
	Terminal bool         // Progress is a terminal: one line, renewed every second; else a line every 5 s
	Log      *slog.Logger // lost connections and refusals; nil means none
}

// withDefaults fills the optional fields and refuses what contradicts itself.
func (c Config) withDefaults() (Config, error) {
	set := func(name string, d *time.Duration, def time.Duration) error {
		if *d < 0 {
			return fmt.Errorf("%s must not be negative", name)
		}
		if *d == 0 {
			*d = def
		}
		return nil
	}
	if err := errors.Join(
		set("keep alive", &c.KeepAlive, 180*time.Second),
		set("token life", &c.TokenTTL, time.Hour),
		set("longest back-off", &c.MaxBackoff, 5*time.Second),
		set("give-up time", &c.GiveUp, 2*time.Minute),
		set("drain time", &c.Drain, 10*time.Second),
		set("duration", &c.Duration, 0),
	); err != nil {
		return c, err
	}
	c.KeepAlive = min(max(c.KeepAlive, time.Second), 1177*time.Second)
	if c.InFlight == 0 {
		c.InFlight = 64
	}
	if c.Connects <= 0 {
		c.Connects = 64
	}
	if c.Prefix == "" {
		c.Prefix = "sim-"
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case c.ConnectionString == "" && c.KeysFile == "":
		return c, errors.New("no credentials: give a connection string (of a device or of a hub policy) or a keys file")
	case c.QoS != 0 && c.QoS != 1:
		return c, fmt.Errorf("QoS %d: the hub knows 0 and 1", c.QoS)
	case c.InFlight < 1 || c.InFlight > 65535:
		return c, fmt.Errorf("%d messages in flight: the range is 1 to 65535", c.InFlight)
	case c.Rate < 0 || c.TotalRate < 0 || c.Speedup < 0 || c.Count < 0 || c.Devices < 0:
		return c, errors.New("rates, speed-up, count and devices must not be negative")
	case c.Rate > 0 && c.TotalRate > 0:
		return c, errors.New("give either a rate per device or a total rate")
	case c.Flat && (c.Rate > 0 || c.TotalRate > 0 || c.Speedup > 0):
		return c, errors.New("a rate or speed-up contradicts sending without a pace")
	case c.Replay != "" && (c.Fleet != "" || c.Template != "" || c.TemplateFile != ""):
		return c, errors.New("a replay takes its payload from the file; leave out the fleet and the template")
	case c.Replay == "" && (c.Speedup > 0 || c.TimeColumn != "" || len(c.ValueColumns) > 0 || c.DeviceColumn != ""):
		return c, errors.New("speed-up and columns belong to a replay; name the CSV file")
	case c.Speedup > 0 && c.TimeColumn == "":
		return c, errors.New("a speed-up needs the time column that gives the recorded pace")
	case c.Speedup > 0 && (c.Rate > 0 || c.TotalRate > 0):
		return c, errors.New("give either a speed-up or a rate")
	case c.Device != "" && c.Devices > 1:
		return c, errors.New("give either the id of one device or a number of devices")
	}
	if n := len(c.Template) + len(c.Fleet) + len(c.TemplateFile); n > max(len(c.Template), len(c.Fleet), len(c.TemplateFile)) {
		return c, errors.New("give one of fleet, template and template file")
	}
	if c.Replay != "" {
		if c.ContentType == "" {
			c.ContentType = jsonType
		}
		if c.Devices == 0 {
			c.Devices = 1 // all rows are one device, however many keys there are
		}
		return c, nil
	}
	if c.TemplateFile != "" {
		b, err := os.ReadFile(c.TemplateFile)
		if err != nil {
			return c, fmt.Errorf("template: %w", err)
		}
		c.Template = strings.TrimRight(string(b), "\r\n")
	}
	rate := 1.0
	if c.Template == "" {
		if c.Fleet == "" {
			c.Fleet = fleets[0].Name
		}
		f, ok := FleetByName(c.Fleet)
		if !ok {
			var names []string
			for _, f := range fleets {
				names = append(names, f.Name)
			}
			return c, fmt.Errorf("no fleet %q; there are %s", c.Fleet, strings.Join(names, ", "))
		}
		c.Template, rate = f.Template, f.Rate
		if c.Properties == nil {
			c.Properties = f.Properties
		}
		if c.ContentType == "" {
			c.ContentType = jsonType
		}
	}
	if c.Rate == 0 && c.TotalRate == 0 && !c.Flat {
		c.Rate = rate
	}
	return c, nil
}

const jsonType = "application/json"
