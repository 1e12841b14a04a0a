package app

import (
	"cmp"
	"slices"
	"time"

	"dunlin/internal/things/command"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// HubSettings are the settings of the hub, the section "hub" of the file; the
// flag of hub.limits.queue-depth is --hub-limits-queue-depth.
type HubSettings struct {
	Profile string   `yaml:"profile" name:"profile" default:"strict" placeholder:"strict|open" help:"Size limits: strict, those of the public service (${default}); open, larger ones, which --hub-limits-... set."`
	Indexes []string `yaml:"indexes" name:"indexes" placeholder:"PATH,..." help:"Members of twins that queries find fast by their texts, such as tags.site; at most 20. They are built and dropped at the start."`
	Tier    string   `yaml:"tier" name:"tier" default:"none" placeholder:"TIER" help:"Rates and daily messages of a tier of the public service: F1, B1, B2, B3, S1, S2 or S3; none has no such limits (${default})."`
	Units   int      `yaml:"units" name:"units" default:"1" placeholder:"N" help:"Units of the tier (${default})."`
	Devices int      `yaml:"devices" name:"devices" default:"0" placeholder:"N" help:"Devices that may be registered; 0 for what the tier has, any number without one (${default})."`

	Device HubDevice   `yaml:"device" embed:"" prefix:"device-" group:"Limits of one device"`
	Limits HubLimits   `yaml:"limits" embed:"" prefix:"limits-" group:"Limits of the hub, with the open profile"`
	C2D    HubMessages `yaml:"c2d" embed:"" prefix:"c2d-" group:"Cloud-to-device messages"`
	Events HubEvents   `yaml:"events" embed:"" prefix:"events-" group:"Events"`
	Files  HubFiles    `yaml:"files" embed:"" prefix:"files-" group:"Files of devices"`

	Configurations HubConfigurations `yaml:"configurations" embed:"" prefix:"configurations-" group:"Automatic configurations"`
}

// HubDevice bounds what one device sends, its modules for themselves.
type HubDevice struct {
	Messages int   `yaml:"messages" name:"messages" default:"0" placeholder:"N" help:"Messages that one device may send in a second; 0 for any number (${default})."`
	Bytes    Bytes `yaml:"bytes" name:"bytes" default:"0" placeholder:"SIZE" help:"Their size together in a second; 0 for any (${default})."`
}

// HubLimits are limits that the open profile lets one choose; 0 stands for what
// the profile has.
type HubLimits struct {
	TwinTags     Bytes         `yaml:"twin-tags" name:"twin-tags" default:"0" placeholder:"SIZE" help:"Tags of a twin, 1KiB to 1MiB (64KiB; strict: 8KiB)."`
	TwinDesired  Bytes         `yaml:"twin-desired" name:"twin-desired" default:"0" placeholder:"SIZE" help:"Desired properties of a twin, 1KiB to 1MiB (256KiB; strict: 32KiB)."`
	TwinReported Bytes         `yaml:"twin-reported" name:"twin-reported" default:"0" placeholder:"SIZE" help:"Reported properties of a twin, 1KiB to 1MiB (256KiB; strict: 32KiB)."`
	TwinDepth    int           `yaml:"twin-depth" name:"twin-depth" default:"0" placeholder:"N" help:"Objects within objects in a twin, 1 to 60 (32; strict: 10)."`
	TwinKey      Bytes         `yaml:"twin-key" name:"twin-key" default:"0" placeholder:"SIZE" help:"A key in a twin, 64 bytes to 64KiB (4KiB; strict: 1KiB)."`
	TwinText     Bytes         `yaml:"twin-text" name:"twin-text" default:"0" placeholder:"SIZE" help:"A text in a twin, 64 bytes to 1MiB (64KiB; strict: 4KiB)."`
	Method       Bytes         `yaml:"method" name:"method" default:"0" placeholder:"SIZE" help:"Payload of a direct method and of its answer, 1KiB to 256KiB (256KiB; strict: 128KiB)."`
	Calls        int           `yaml:"calls" name:"calls" default:"0" placeholder:"N" help:"Direct methods of one device under way, 1 to 100000 (1000; strict: 100)."`
	QueueDepth   int           `yaml:"queue-depth" name:"queue-depth" default:"0" placeholder:"N" help:"Cloud-to-device messages that wait for one device, 1 to 100000 (10000; strict: 50)."`
	C2DMessage   Bytes         `yaml:"c2d-message" name:"c2d-message" default:"0" placeholder:"SIZE" help:"A cloud-to-device message, 1KiB to 256KiB (256KiB; strict: 64KiB)."`
	C2DExpiry    time.Duration `yaml:"c2d-expiry" name:"c2d-expiry" default:"0s" placeholder:"DURATION" help:"How long a cloud-to-device message may live, 1m to 8760h (720h; strict: 48h)."`
}

// HubMessages is how cloud-to-device messages and their feedback live.
type HubMessages struct {
	TTL              time.Duration `yaml:"ttl" name:"ttl" default:"1h" placeholder:"DURATION" help:"Life of a message that names no expiry, 1m to 48h (${default})."`
	MaxDelivery      int           `yaml:"max-delivery-count" name:"max-delivery-count" default:"10" placeholder:"N" help:"Abandoned deliveries after which a message is given up, 1 to 100 (${default})."`
	FeedbackTTL      time.Duration `yaml:"feedback-ttl" name:"feedback-ttl" default:"1h" placeholder:"DURATION" help:"Life of feedback, 1m to 48h (${default})."`
	FeedbackLock     time.Duration `yaml:"feedback-lock" name:"feedback-lock" default:"60s" placeholder:"DURATION" help:"How long feedback that was received is hidden from other receivers, 5s to 300s (${default})."`
	FeedbackDelivery int           `yaml:"feedback-max-delivery-count" name:"feedback-max-delivery-count" default:"10" placeholder:"N" help:"Abandoned deliveries after which feedback is given up, 1 to 100 (${default})."`
}

// HubEvents says what of what happens becomes an event of the log.
type HubEvents struct {
	ConnectionState string `yaml:"connection-state" name:"connection-state" default:"on" placeholder:"on|off" help:"Events of devices that connect and disconnect (${default})."`
}

// HubConfigurations is how automatic configurations are kept.
type HubConfigurations struct {
	Refresh time.Duration `yaml:"refresh" name:"refresh" default:"5m" placeholder:"DURATION" help:"Between refreshes of the custom metrics of configurations, 10s to 24h (${default}); whoever looks at one refreshes it."`
}

// The profiles.
const (
	profileStrict = "strict"
	profileOpen   = "open"
)

// The positions of a switch.
const (
	switchOn  = "on"
	switchOff = "off"
)

// complaint notes what is wrong with the setting of a key.
type complaint func(key, format string, args ...any)

// within complains of a value outside of its range, or outside of the profile.
func within[T int | Bytes | time.Duration](bad complaint, key string, have, least, most T) {
	if have < least || have > most {
		bad(key, "%v: %v to %v", have, least, most)
	}
}

// check reports every setting that cannot be meant.
func (h *HubSettings) check(bad complaint) {
	if h.Profile != profileStrict && h.Profile != profileOpen {
		bad("hub.profile", "%q is not known: strict or open", h.Profile)
	}
	if err := twin.CheckIndexes(h.Indexes); err != nil {
		bad("hub.indexes", "%s", err.Message)
	}
	h.checkQuota(bad)
	if s := h.Events.ConnectionState; s != switchOn && s != switchOff {
		bad("hub.events.connection-state", "%q is not known: on or off", s)
	}
	h.Files.check(bad)
	h.Limits.check(h.Profile == profileOpen, bad)
	longest := 48 * time.Hour
	if h.Profile == profileOpen {
		longest = cmp.Or(h.Limits.C2DExpiry, command.OpenLimits().MaxTTL)
	}
	within(bad, "hub.c2d.ttl", h.C2D.TTL, time.Minute, longest)
	within(bad, "hub.configurations.refresh", h.Configurations.Refresh, 10*time.Second, 24*time.Hour)
	within(bad, "hub.c2d.max-delivery-count", h.C2D.MaxDelivery, 1, 100)
	within(bad, "hub.c2d.feedback-ttl", h.C2D.FeedbackTTL, time.Minute, longest)
	within(bad, "hub.c2d.feedback-lock", h.C2D.FeedbackLock, 5*time.Second, 300*time.Second)
	within(bad, "hub.c2d.feedback-max-delivery-count", h.C2D.FeedbackDelivery, 1, 100)
}

// checkQuota checks what bounds how much is done.
func (h *HubSettings) checkQuota(bad complaint) {
	tier := quota.Tier(h.Tier)
	switch {
	case !slices.Contains(quota.Tiers(), tier):
		bad("hub.tier", "%q is not known: none, F1, B1, B2, B3, S1, S2 or S3", h.Tier)
	case tier == quota.None && h.Units != 1:
		bad("hub.units", "%d: units are those of a tier, and hub.tier is none", h.Units)
	default:
		within(bad, "hub.units", h.Units, 1, tier.MaxUnits())
	}
	const (
		many  = 1_000_000_000
		least = 1 << 10
	)
	if h.Devices != 0 {
		within(bad, "hub.devices", h.Devices, 1, many)
	}
	if h.Device.Messages != 0 {
		within(bad, "hub.device.messages", h.Device.Messages, 1, many)
	}
	if h.Device.Bytes != 0 {
		within(bad, "hub.device.bytes", h.Device.Bytes, least, many)
	}
}

// quota gives what bounds how much is done.
func (h *HubSettings) quota() quota.Config {
	return quota.Config{
		Tier: quota.Tier(h.Tier), Units: h.Units, Devices: h.Devices,
		DeviceMessages: int64(h.Device.Messages), DeviceBytes: int64(h.Device.Bytes),
	}
}

func (l *HubLimits) check(open bool, bad complaint) {
	const (
		kib = Bytes(1 << 10)
		mib = Bytes(1 << 20)
	)
	limit(bad, open, "twin-tags", l.TwinTags, kib, mib)
	limit(bad, open, "twin-desired", l.TwinDesired, kib, mib)
	limit(bad, open, "twin-reported", l.TwinReported, kib, mib)
	limit(bad, open, "twin-depth", l.TwinDepth, 1, 60)
	limit(bad, open, "twin-key", l.TwinKey, 64, 64*kib)
	limit(bad, open, "twin-text", l.TwinText, 64, mib)
	limit(bad, open, "method", l.Method, kib, 256*kib)
	limit(bad, open, "calls", l.Calls, 1, 100_000)
	limit(bad, open, "queue-depth", l.QueueDepth, 1, 100_000)
	limit(bad, open, "c2d-message", l.C2DMessage, kib, 256*kib)
	limit(bad, open, "c2d-expiry", l.C2DExpiry, time.Minute, 365*24*time.Hour)
}

// limit checks one setting of hub.limits.
func limit[T int | Bytes | time.Duration](bad complaint, open bool, key string, have, least, most T) {
	switch {
	case have == 0:
	case !open:
		bad("hub.limits."+key, "the strict profile keeps the limits of the public service: set hub.profile to open to choose them")
	default:
		within(bad, "hub.limits."+key, have, least, most)
	}
}

// twins gives what the hub allows of twins.
func (h *HubSettings) twins() twin.Limits {
	if h.Profile != profileOpen {
		return twin.StrictLimits()
	}
	out, l := twin.OpenLimits(), &h.Limits
	out.Tags = cmp.Or(int(l.TwinTags), out.Tags)
	out.Desired = cmp.Or(int(l.TwinDesired), out.Desired)
	out.Reported = cmp.Or(int(l.TwinReported), out.Reported)
	out.Depth = cmp.Or(l.TwinDepth, out.Depth)
	out.Key = cmp.Or(int(l.TwinKey), out.Key)
	out.String = cmp.Or(int(l.TwinText), out.String)
	return out
}

// commands gives what the hub allows of methods and cloud-to-device messages.
func (h *HubSettings) commands() command.Limits {
	out := command.StrictLimits()
	if h.Profile == profileOpen {
		l := &h.Limits
		out = command.OpenLimits()
		out.MethodPayload = cmp.Or(int(l.Method), out.MethodPayload)
		out.CallsPerDevice = cmp.Or(l.Calls, out.CallsPerDevice)
		out.Depth = cmp.Or(l.QueueDepth, out.Depth)
		out.MessageBytes = cmp.Or(int(l.C2DMessage), out.MessageBytes)
		out.MaxTTL = cmp.Or(l.C2DExpiry, out.MaxTTL)
	}
	c := &h.C2D
	out.TTL, out.MaxDelivery = c.TTL, c.MaxDelivery
	out.FeedbackTTL, out.FeedbackLock, out.FeedbackMaxDelivery = c.FeedbackTTL, c.FeedbackLock, c.FeedbackDelivery
	return out
}
