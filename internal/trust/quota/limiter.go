package quota

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

//go:embed migrations
var migrations embed.FS

// Config says what is limited.
type Config struct {
	Tier  Tier // None or "" for none
	Units int  // of the tier, from 1
	// Devices is the largest number of registered devices; 0 is that of the
	// tier.
	Devices int
	// DeviceMessages and DeviceBytes bound what one device sends in a second,
	// its modules for themselves; 0 is no limit.
	DeviceMessages, DeviceBytes int64
}

func (c *Config) limits() bool { return c.tiered() || c.Devices > 0 || c.perDevice() }

func (c *Config) tiered() bool { return c.Tier != None && c.Tier != "" }

func (c *Config) perDevice() bool { return c.DeviceMessages > 0 || c.DeviceBytes > 0 }

// Deps is what the limits need.
type Deps struct {
	Config     Config
	DB         state.DB
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// How long one may have to wait: a request of an application, and a device.
const (
	waitRequest = 2 * time.Second
	waitDevice  = 10 * time.Second
	endless     = time.Duration(1) << 61
)

// Limiter says how much may be done. All methods may be called on nil, which
// limits nothing, and by any goroutine.
type Limiter struct {
	config  Config
	name    string // of the tier with its units, in texts
	started time.Time
	buckets *[kinds]bucket // nil without a tier
	day     *day           // nil without a tier
	devices *devices       // nil without limits of devices
	census  *census        // nil without a largest number
	metrics metrics
}

// Open gives the limits, nil when there are none. Run keeps them going.
func Open(ctx context.Context, d Deps) (*Limiter, error) {
	c := d.Config
	if !c.limits() {
		return nil, nil //nolint:nilnil // nil limits nothing
	}
	l := &Limiter{config: c, started: begin()}
	if c.tiered() {
		l.name = fmt.Sprintf("%s with %d units", c.Tier, c.Units)
		if c.Units == 1 {
			l.name = fmt.Sprintf("%s with 1 unit", c.Tier)
		}
		l.buckets = new([kinds]bucket)
		for k := range rows {
			l.buckets[k].amount, l.buckets[k].period = rows[k].amount(c.Tier, c.Units), int64(rows[k].period)
		}
		files, err := fs.Sub(migrations, "migrations")
		if err != nil {
			return nil, err
		}
		if err := d.DB.Migrate(ctx, "quota", files); err != nil {
			return nil, err
		}
		if l.day, err = openDay(ctx, d.DB, c, d.Logger); err != nil {
			return nil, err
		}
	}
	if c.perDevice() {
		l.devices = newDevices(c.DeviceMessages, c.DeviceBytes)
	}
	if most := max(c.Devices, 0); most > 0 || c.Tier.devices() > 0 {
		if most == 0 {
			most = c.Tier.devices()
		}
		l.census = &census{most: most}
	}
	l.metrics = newMetrics(d.Registerer, l)
	return l, nil
}

// Run stores what is counted until ctx ends, and then what is left.
func (l *Limiter) Run(ctx context.Context) error {
	if l == nil || l.day == nil {
		<-ctx.Done()
		return nil
	}
	return l.day.run(ctx)
}

// begin is what times count from: so long ago that buckets are full.
func begin() time.Time { return time.Now().Add(-time.Hour) }

// now is a time that nobody can set back.
func (l *Limiter) now() int64 { return int64(time.Since(l.started)) }

// Offers refuses what the tier does not have.
func (l *Limiter) Offers(k Kind) error {
	if l == nil || !rows[k].standard || !l.config.Tier.basic() {
		return nil
	}
	return iot.Errorf(iot.OperationNotAvailable, "the basic tier %s has no %s: the setting hub.tier chooses another one", l.config.Tier, rows[k].text)
}

// Take takes n of a kind for an application or a request over HTTPS: it waits
// where that is not long. Errors carry OperationNotAvailable, Throttled or
// QuotaExceeded.
func (l *Limiter) Take(ctx context.Context, k Kind, n int) error {
	if l == nil || l.buckets == nil {
		return nil
	}
	wait, err := l.reserve(k, n, waitRequest)
	if err != nil || wait == 0 {
		return err
	}
	return pause(ctx, wait)
}

// TakeLong is Take for those who have more time, such as devices that connect.
func (l *Limiter) TakeLong(ctx context.Context, k Kind, n int) error {
	if l == nil || l.buckets == nil {
		return nil
	}
	wait, err := l.reserve(k, n, waitDevice)
	if err != nil || wait == 0 {
		return err
	}
	return pause(ctx, wait)
}

// Await is Take for work of the hub's own, which waits as long as it must.
func (l *Limiter) Await(ctx context.Context, k Kind, n int) error {
	if l == nil || l.buckets == nil {
		return nil
	}
	wait, err := l.reserve(k, n, endless)
	if err != nil || wait == 0 {
		return err
	}
	return pause(ctx, wait)
}

// Reserve takes n of a kind for a device and answers how long it has to wait.
func (l *Limiter) Reserve(k Kind, n int) (time.Duration, error) {
	if l == nil || l.buckets == nil {
		return 0, nil
	}
	return l.reserve(k, n, waitDevice)
}

// Debit takes n of a kind that cannot be refused any more, such as an answer:
// those who come later wait for it.
func (l *Limiter) Debit(k Kind, n int) {
	if l == nil || l.buckets == nil {
		return
	}
	l.buckets[k].take(l.now(), int64(n), int64(endless))
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *Limiter) reserve(k Kind, n int, backlog time.Duration) (time.Duration, error) {
	if err := l.Offers(k); err != nil {
		return 0, err
	}
	wait, ok := l.buckets[k].take(l.now(), int64(n), int64(backlog))
	if !ok {
		l.metrics.refused[k].Inc()
		return 0, l.throttled(k, time.Duration(wait))
	}
	if wait > 0 {
		l.metrics.delayed[k].Inc()
	}
	return time.Duration(wait), nil
}

// throttled is the answer to whoever is too fast.
func (l *Limiter) throttled(k Kind, after time.Duration) error {
	e := iot.Errorf(iot.Throttled, "the hub is throttled: tier %s allows %s, and too many wait already: try again in %s, or change the settings hub.tier and hub.units",
		l.name, rows[k].rate(l.buckets[k].amount), seconds(after))
	e.After = after
	return e
}

// seconds writes a time rounded up.
func seconds(d time.Duration) string {
	return fmt.Sprintf("%d s", int64((d+time.Second-1)/time.Second))
}

// Left refuses with QuotaExceeded once the messages of the day are used up.
func (l *Limiter) Left() error {
	if l == nil || l.day == nil || !l.day.over() {
		return nil
	}
	l.metrics.overQuota.Inc()
	return l.exceeded()
}

// Note counts what has size bytes as messages of the day.
func (l *Limiter) Note(size int) {
	if l != nil && l.day != nil {
		l.day.note(l.day.chunks(size))
	}
}

func (l *Limiter) exceeded() error {
	left := untilMidnight(time.Now())
	e := iot.Errorf(iot.QuotaExceeded, "the daily quota is used up: tier %s allows %d messages of %d bytes a day: it begins anew at midnight UTC, in %s; the settings hub.tier and hub.units raise it",
		l.name, l.day.most, l.day.meter, left.Round(time.Minute))
	e.After = left
	return e
}

// Jobs gives how many jobs may run at a time, 0 for any number.
func (l *Limiter) Jobs() int {
	if l == nil {
		return 0
	}
	return l.config.Tier.jobs()
}

// Describe names the tier with its units, "" without one.
func (l *Limiter) Describe() string {
	if l == nil {
		return ""
	}
	return l.name
}

// Day gives how many messages were counted today, and how many may be; 0 of 0
// without a quota.
func (l *Limiter) Day() (used, most int64) {
	if l == nil || l.day == nil {
		return 0, 0
	}
	return l.day.used(), l.day.most
}
