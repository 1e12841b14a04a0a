package quota

import (
	"fmt"
	"time"
)

// Tier is the size of a hub as the public service sells it.
type Tier string

// The tiers. Basic ones lack what goes from the cloud to devices.
const (
	None Tier = "none" // no limits but those of sizes
	F1   Tier = "F1"
	B1   Tier = "B1"
	B2   Tier = "B2"
	B3   Tier = "B3"
	S1   Tier = "S1"
	S2   Tier = "S2"
	S3   Tier = "S3"
)

// Tiers lists the tiers.
func Tiers() []Tier { return []Tier{None, F1, B1, B2, B3, S1, S2, S3} }

func (t Tier) basic() bool { return t == B1 || t == B2 || t == B3 }

// size is the column of the table: 0, 1 or 2.
func (t Tier) size() int {
	switch t {
	case B2, S2:
		return 1
	case B3, S3:
		return 2
	default:
		return 0
	}
}

// MaxUnits gives how many units a hub of the tier can have.
func (t Tier) MaxUnits() int {
	switch t {
	case F1:
		return 1
	case B3, S3:
		return 10
	default:
		return 200
	}
}

// Kind is a kind of operation that has a limit of its own.
type Kind uint8

// The kinds.
const (
	Registry       Kind = iota // reads and changes of identities
	Connections                // of devices
	Telemetry                  // messages of devices
	Messages                   // messages to devices
	Receives                   // of messages to devices, over HTTPS
	Uploads                    // of files, begun
	Methods                    // direct methods, in blocks of 4 KiB
	Queries                    // pages of results
	TwinReads                  // by devices and applications
	TwinUpdates                // by devices and applications
	Jobs                       // begun, read and cancelled
	JobDevices                 // twins changed and methods called by jobs
	Configurations             // made, changed and read
	kinds
)

// MethodBlock is what one unit of Methods stands for, in bytes.
const MethodBlock = 4 << 10

// row says what the tiers allow of a kind: the larger of least and perUnit for
// each unit, in a period.
type row struct {
	label    string // in metrics
	text     string // in texts
	standard bool   // not part of basic tiers
	period   time.Duration
	perUnit  [3]int64
	least    [3]int64
}

var rows = [kinds]row{
	Registry:       {"registry", "registry operations", false, time.Minute, [3]int64{100, 100, 5000}, [3]int64{}},
	Connections:    {"connections", "new connections", false, time.Second, [3]int64{12, 120, 6000}, [3]int64{100}},
	Telemetry:      {"telemetry", "device-to-cloud messages", false, time.Second, [3]int64{12, 120, 6000}, [3]int64{100}},
	Messages:       {"messages", "cloud-to-device messages", true, time.Minute, [3]int64{100, 100, 5000}, [3]int64{}},
	Receives:       {"receives", "receives of cloud-to-device messages over HTTPS", true, time.Minute, [3]int64{1000, 1000, 50_000}, [3]int64{}},
	Uploads:        {"uploads", "starts of file uploads", false, time.Minute, [3]int64{100, 100, 5000}, [3]int64{}},
	Methods:        {"methods", "blocks of 4 KiB of direct methods", true, time.Second, [3]int64{40, 120, 6144}, [3]int64{}},
	Queries:        {"queries", "queries", true, time.Minute, [3]int64{20, 20, 1000}, [3]int64{}},
	TwinReads:      {"twin_reads", "reads of twins", true, time.Second, [3]int64{0, 10, 500}, [3]int64{100, 100}},
	TwinUpdates:    {"twin_updates", "updates of twins", true, time.Second, [3]int64{0, 5, 250}, [3]int64{50, 50}},
	Jobs:           {"jobs", "operations on jobs", true, time.Minute, [3]int64{100, 100, 5000}, [3]int64{}},
	JobDevices:     {"job_devices", "operations of jobs on devices", true, time.Second, [3]int64{0, 1, 50}, [3]int64{10, 10}},
	Configurations: {"configurations", "operations on configurations", true, time.Minute, [3]int64{20, 20, 20}, [3]int64{}},
}

func (r *row) amount(t Tier, units int) int64 {
	return max(r.least[t.size()], r.perUnit[t.size()]*int64(units))
}

func (r *row) rate(amount int64) string {
	if r.period == time.Minute {
		return fmt.Sprintf("%d %s a minute", amount, r.text)
	}
	return fmt.Sprintf("%d %s a second", amount, r.text)
}

// perDay gives how many messages the tier allows in a day, and what counts as
// one, in bytes.
func (t Tier) perDay(units int) (messages int64, meter int) {
	const whole = 4 << 10
	switch t {
	case F1:
		return 8_000, 512
	case B1, S1:
		return 400_000 * int64(units), whole
	case B2, S2:
		return 6_000_000 * int64(units), whole
	case B3, S3:
		return 300_000_000 * int64(units), whole
	default:
		return 0, whole
	}
}

// devices gives how many devices the tier allows, 0 for any number.
func (t Tier) devices() int {
	switch t {
	case None:
		return 0
	case F1:
		return 500
	default:
		return 1_000_000
	}
}

// jobs gives how many jobs may run at a time, 0 for any number.
func (t Tier) jobs() int {
	switch t {
	case F1, S1:
		return 1
	case S2:
		return 5
	case S3:
		return 10
	default:
		return 0
	}
}
