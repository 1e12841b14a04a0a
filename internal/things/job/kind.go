package job

import (
	"strings"

	"dunlin/internal/iot"
)

// Kind is what a job does; the numbers are stored.
type Kind uint8

// The kinds.
const (
	Export       Kind = 1
	Import       Kind = 2
	DeviceMethod Kind = 3
	UpdateTwin   Kind = 4
)

var kindNames = [...]string{"unknown", "export", "import", "scheduleDeviceMethod", "scheduleUpdateTwin"}

// String gives the service's name, such as "scheduleUpdateTwin".
func (k Kind) String() string {
	if int(k) >= len(kindNames) {
		return kindNames[0]
	}
	return kindNames[k]
}

// Scheduled reports whether the job works on devices one by one.
func (k Kind) Scheduled() bool { return k == DeviceMethod || k == UpdateTwin }

// ParseKind reads the name of a kind in any case.
func ParseKind(s string) (Kind, error) {
	for k := Export; k <= UpdateTwin; k++ {
		if strings.EqualFold(s, k.String()) {
			return k, nil
		}
	}
	return 0, iot.Errorf(iot.ArgumentInvalid, "the job type '%.40s' is not known: use one of %s", s, strings.Join(kindNames[1:], ", "))
}

// Status is how far a job is; the numbers are stored.
type Status uint8

// The states. What is 10 and above has ended.
const (
	Unknown   Status = 0
	Queued    Status = 1 // has just come, or waits for another job to end
	Scheduled Status = 2 // waits for its time
	Running   Status = 3
	Enqueued  Status = 4 // an import or export that has just come
	Completed Status = 10
	Failed    Status = 11
	Cancelled Status = 12
)

var statusNames = map[Status]string{
	Unknown: "unknown", Queued: "queued", Scheduled: "scheduled", Running: "running", Enqueued: "enqueued",
	Completed: "completed", Failed: "failed", Cancelled: "cancelled",
}

// String gives the service's name of the state.
func (s Status) String() string {
	if n, ok := statusNames[s]; ok {
		return n
	}
	return statusNames[Unknown]
}

// Ended reports whether the job does nothing more.
func (s Status) Ended() bool { return s >= Completed }

// ParseStatus reads the name of a state in any case.
func ParseStatus(s string) (Status, error) {
	for status, name := range statusNames {
		if strings.EqualFold(s, name) {
			return status, nil
		}
	}
	return 0, iot.Errorf(iot.ArgumentInvalid, "the job status '%.40s' is not known: use one of queued, scheduled, running, enqueued, completed, failed, cancelled", s)
}

// deviceStatus is how far a job is with one device; the numbers are stored.
type deviceStatus uint8

const (
	devicePending deviceStatus = iota
	deviceRunning
	deviceCompleted
	deviceFailed
	deviceCanceled
)

var deviceStatusNames = [...]string{"pending", "running", "completed", "failed", "canceled"}

func (s deviceStatus) String() string {
	return deviceStatusNames[min(int(s), len(deviceStatusNames)-1)]
}

func (s deviceStatus) ended() bool { return s >= deviceCompleted }
