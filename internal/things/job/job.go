package job

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/leader"
	"dunlin/internal/engine/outbox"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

//go:embed migrations
var migrations embed.FS

// History is how long a job is kept after its end, with the records of its
// devices.
const History = 30 * 24 * time.Hour

// Target is a device or module that a job is for. An id that was deleted and
// made again has another generation: the job is not for it.
type Target struct {
	ID         iot.ID
	Generation uint64
}

// Limits are what a hub allows. Texts of refusals name the limit that was met.
type Limits struct {
	// MaxRunning bounds the scheduled jobs that run at a time; 0 is no limit.
	MaxRunning int
	// MaxOpen bounds the scheduled jobs that have not ended; 0 is no limit.
	MaxOpen int
	// Calls is the number of devices whose method one job calls at a time;
	// 0 is 500.
	Calls int
}

// Deps is what the room needs. The functions may be called by any goroutine.
type Deps struct {
	DB     state.DB
	Outbox *outbox.Box // for events of the lives of jobs; nil when nobody wants them

	// Find gives up to n devices or modules that a target selects, those after
	// the id after in the order of ids; last is where the next page begins when
	// there are more.
	Find func(ctx context.Context, t *twinql.Target, after iot.ID, n int) (found []Target, last iot.ID, more bool, err error)
	// Exists answers nil while an identity exists and is of the generation.
	Exists func(ctx context.Context, t Target) error
	// Change merges a change into the twin of an identity that exists, and
	// returns when it is durable.
	Change func(ctx context.Context, t Target, c Change) error
	// CheckChange says what is wrong with a change whatever the twin is.
	CheckChange func(c Change) error
	// Call calls a method of an identity that exists; the device is connected
	// or the error is DeviceNotOnline.
	Call func(ctx context.Context, t Target, c Call) (status int, payload []byte, err error)
	// CheckCall says what is wrong with a call whatever the device is.
	CheckCall func(c Call) error
	// Connected reports whether an identity has a connection.
	Connected func(id iot.ID) bool

	// Transfer is what import and export need; nil when there is no place to
	// import from.
	Transfer *Transfer

	Limits     Limits
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Room is the room. All methods may be called by any goroutine.
type Room struct {
	db      state.DB
	deps    Deps
	limits  Limits
	logger  *slog.Logger
	metrics metrics
	seat    *leader.Seat // one node runs the jobs of a store

	finding  chan struct{} // a token: one job at a time reads what it is for
	changing chan struct{} // tokens: batches of twin changes under way
	slots    chan struct{} // tokens of jobs that may run; nil without a limit

	wake      chan struct{} // capacity 1: fresh has changed
	listening atomic.Bool   // there are callers

	mu      sync.Mutex
	leading bool                 // jobs are run here
	open    map[string]*open     // jobs that have not ended, by id; none unless leading
	fresh   []*open              // that Run has not started yet
	gone    map[string]struct{}  // jobs that ended while the store was read; nil when it is not
	callers map[*caller]struct{} // of method jobs that are running
}

const defaultCalls = 500

// Open brings the schema up to date and gives the room; Run does its work.
func Open(ctx context.Context, d Deps) (*Room, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fmt.Errorf("job: %w", err)
	}
	if err := d.DB.Migrate(ctx, "job", files); err != nil {
		return nil, err
	}
	seat, err := leader.Open(ctx, d.DB, "job")
	if err != nil {
		return nil, err
	}
	r := &Room{
		seat: seat, leading: !seat.Shared(),
		db: d.DB, deps: d, limits: d.Limits, logger: d.Logger, open: map[string]*open{}, callers: map[*caller]struct{}{}, wake: make(chan struct{}, 1),
		finding: make(chan struct{}, 1), changing: make(chan struct{}, 2),
	}
	if r.limits.Calls <= 0 {
		r.limits.Calls = defaultCalls
	}
	if n := r.limits.MaxRunning; n > 0 {
		r.slots = make(chan struct{}, n)
	}
	r.metrics = newMetrics(d.Registerer)
	return r, nil
}

// Schedule stores a job, which begins by itself when it is time.
func (r *Room) Schedule(ctx context.Context, s Spec) (Job, error) {
	j, err := r.read(&s, time.Now().UTC())
	if err != nil {
		return j, err
	}
	err = r.db.Write(ctx, func(tx state.Tx) error {
		if err := r.allowed(ctx, tx, &j); err != nil {
			return err
		}
		return insert(ctx, tx, &j)
	})
	if err != nil {
		return j, stored(err, "store a job")
	}
	r.launch(j)
	return j, nil
}

// allowed refuses a job that is one too many.
func (r *Room) allowed(ctx context.Context, tx state.Tx, j *Job) error {
	if n := r.limits.MaxRunning; n > 0 && !j.Start.After(j.Created) {
		var running int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM job WHERE settled = 0 AND kind >= 3 AND status < 10 AND start_at <= ?", j.Created.UnixNano()).Scan(&running); err != nil {
			return err
		}
		if running >= n {
			return iot.Errorf(iot.TooManyJobs, "%d jobs are running, which is the limit of the hub: wait until one has ended, cancel one, or schedule this one for later", n)
		}
	}
	if n := r.limits.MaxOpen; n > 0 {
		var waiting int
		if err := tx.QueryRow(ctx, "SELECT count(*) FROM job WHERE settled = 0 AND kind >= 3").Scan(&waiting); err != nil {
			return err
		}
		if waiting >= n {
			return iot.Errorf(iot.TooManyJobs, "%d jobs have not ended, which is the limit of the hub: wait until one has, or cancel one", n)
		}
	}
	return nil
}

// Job gives a job with its numbers of the moment.
func (r *Room) Job(ctx context.Context, id string) (Job, error) {
	j, err := r.get(ctx, id)
	if err == nil {
		r.live(&j)
	}
	return j, err
}

// live puts what is known in memory over what is stored.
func (r *Room) live(j *Job) {
	r.mu.Lock()
	o := r.open[j.ID]
	r.mu.Unlock()
	if o != nil {
		j.Running = o.running.Load()
		if n := o.progress.Load(); n > int64(j.Progress) {
			j.Progress = int(n)
		}
	}
}

// Cancel ends a job. Devices that it has not begun with are left alone; what is
// under way is not waited for. A job that was cancelled before is answered as
// it is, one that has ended otherwise is refused.
func (r *Room) Cancel(ctx context.Context, id string) (Job, error) {
	if err := r.end(ctx, id); err != nil {
		return Job{}, err
	}
	r.mu.Lock()
	o := r.open[id]
	r.mu.Unlock()
	if o != nil {
		o.stop(errCancelled)
	}
	return r.Job(ctx, id)
}

func (r *Room) end(ctx context.Context, id string) error {
	err := r.db.Write(ctx, func(tx state.Tx) error {
		j, err := getJob(ctx, tx, id)
		switch {
		case err != nil:
			return err
		case j.Status == Cancelled:
			return nil
		case j.Status.Ended():
			return iot.Errorf(iot.InvalidOperation, "the job %s cannot be cancelled, it is %s", id, j.Status)
		}
		_, err = tx.Exec(ctx, "UPDATE job SET status = ?, ended_at = ? WHERE seq = ?", int64(Cancelled), time.Now().UnixNano(), j.seq)
		return err
	})
	return stored(err, "cancel a job")
}

// Wake says that a device or module takes method calls from now on, or was
// deleted. It does not block, and costs next to nothing unless a method job
// is running. A room that is not there has no jobs.
func (r *Room) Wake(id iot.ID) {
	if r == nil || !r.listening.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.callers {
		c.arrive(id)
	}
}

// transient reports an error after which the same may succeed later.
func transient(err error) bool {
	switch iot.CodeOf(err) {
	case iot.ServiceUnavailable, iot.ServerBusy, iot.Throttled:
		return true
	default:
	}
	return errors.Is(err, state.ErrUnavailable) || errors.Is(err, state.ErrFull)
}

// rest waits, or answers the error of ctx.
func rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stored turns an error of the store into one of the domain where a caller can
// do something about it; other errors stay as they are and are for the log.
func stored(err error, doing string) error {
	var domain *iot.Error
	switch {
	case err == nil, errors.As(err, &domain):
		return err
	case errors.Is(err, state.ErrFull):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the disk of the server is full, nothing was changed: try again once there is space", Err: err}
	case errors.Is(err, state.ErrUnavailable), errors.Is(err, state.ErrClosed):
		return &iot.Error{Code: iot.ServiceUnavailable, Message: "the jobs are not available at the moment: try again later", Err: err}
	}
	return fmt.Errorf("job: %s: %w", doing, err)
}

type metrics struct {
	ended   *prometheus.CounterVec
	devices *prometheus.CounterVec
	running prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) metrics {
	m := metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_jobs_ended_total",
			Help: "Jobs that have ended, by type and by how they ended.",
		}, []string{"type", "status"}),
		devices: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "dunlin_job_devices_total",
			Help: "Devices that scheduled jobs are done with, by type and outcome.",
		}, []string{"type", "status"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dunlin_jobs_running",
			Help: "Jobs that are running.",
		}),
	}
	reg.MustRegister(m.ended, m.devices, m.running)
	return m
}
