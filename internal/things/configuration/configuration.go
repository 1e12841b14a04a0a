package configuration

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"dunlin/internal/iot"
)

// Configuration is one configuration as applications see it.
type Configuration struct {
	ID            string
	SchemaVersion string
	Labels        json.RawMessage // object of texts
	Content       json.RawMessage // as it was given
	Target        string
	Priority      int64
	Queries       map[string]string // the metrics
	Created       time.Time
	Updated       time.Time
	ETag          string

	// Results of metrics. System is fresh, Custom as old as the last refresh
	// and nil before the first.
	System        map[string]int64
	SystemQueries map[string]string
	Custom        map[string]int64
}

// Spec is what an application wants a configuration to be.
type Spec struct {
	ID            string
	SchemaVersion string          // empty is "1.0"
	Labels        json.RawMessage // nil is none
	Content       json.RawMessage // nil keeps what is there
	Target        string
	Priority      int64
	Queries       map[string]string
}

// Match is the condition on the ETag of a configuration that is to be changed
// or deleted. The zero Match is none: Put then makes a new configuration.
type Match struct {
	Set  bool
	ETag string // empty is any
}

func (m Match) check(id, etag string) error {
	if !m.Set || m.ETag == "" || m.ETag == etag {
		return nil
	}
	return iot.Errorf(iot.PreconditionFailed,
		"the ETag of the configuration %s is not the one given: somebody changed it meanwhile, read it again and repeat the change", id)
}

// etag is the documented form: base64 of a decimal number.
func etag(revision int64) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendInt(nil, revision, 10))
}

const (
	maxID       = 128
	maxPriority = 1<<31 - 1
	maxLabel    = 128 // characters of the name or the value
	maxLabels   = 100
	maxQueries  = 100
	schema      = "1.0"
)

// Limits is how many configurations a hub may have.
type Limits struct {
	Profile string // its name, for the texts of refusals
	Total   int
	Devices int // of those the ones for devices and modules; 0 is no limit of their own
	Edge    int // of those the ones for edge devices, likewise
}

// StrictLimits gives the documented limits of a paid hub.
func StrictLimits() Limits { return Limits{Profile: "strict", Total: 100} }

// FreeLimits gives the documented limits of a free hub.
func FreeLimits() Limits { return Limits{Profile: "free", Total: 30, Devices: 20, Edge: 10} }

// OpenLimits gives wider limits, for hubs that need not stay compatible.
func OpenLimits() Limits { return Limits{Profile: "open", Total: 1000} }

func validID(id string) bool {
	if id == "" || len(id) > maxID {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("-:+%_#*?!(),=@;'", c) < 0 {
			return false
		}
	}
	return true
}

func errNotFound(id string) error {
	return iot.Errorf(iot.ConfigurationNotFound, "The requested configuration %.140s was not found.", id)
}

// check finds what is wrong whatever is there so far, but for the content.
func (s *Spec) check() error {
	if !validID(s.ID) {
		return iot.Errorf(iot.ArgumentInvalid, "the configuration id '%.140s' is not valid: 1 to 128 of a-z 0-9 and - : . + %% _ # * ? ! ( ) , = @ ; '", s.ID)
	}
	if s.SchemaVersion == "" {
		s.SchemaVersion = schema
	}
	if s.SchemaVersion != schema && s.SchemaVersion != "2.0" {
		return iot.Errorf(iot.InvalidSchemaVersion, "the schemaVersion '%.40s' is not known: it is 1.0", s.SchemaVersion)
	}
	if s.Priority < 0 || s.Priority > maxPriority {
		return iot.Errorf(iot.ArgumentInvalid, "the priority %d is not valid: 0 to %d", s.Priority, maxPriority)
	}
	if err := s.checkLabels(); err != nil {
		return err
	}
	if len(s.Queries) > maxQueries {
		return iot.Errorf(iot.InvalidConfigurationMetrics, "there are %d metrics, at most %d are allowed", len(s.Queries), maxQueries)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Queries)) {
		if name == "" || utf8.RuneCountInString(name) > maxID {
			return iot.Errorf(iot.InvalidConfigurationMetrics, "the name '%.140s' of a metric is not valid: 1 to %d characters", name, maxID)
		}
		if _, err := readMetric(name, s.Queries[name]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Spec) checkLabels() error {
	if len(s.Labels) == 0 || string(s.Labels) == "null" {
		s.Labels = json.RawMessage("{}")
	}
	v, err := parse(string(s.Labels))
	if err != nil {
		return iot.Errorf(iot.ArgumentInvalid, "labels is not valid JSON: %w", err)
	}
	labels, ok := v.(map[string]any)
	if !ok || len(labels) > maxLabels {
		return iot.Errorf(iot.ArgumentInvalid, "labels must be an object of at most %d texts", maxLabels)
	}
	for name, v := range labels {
		value, ok := v.(string)
		if !ok {
			return iot.Errorf(iot.ArgumentInvalid, "the label '%.140s' is not a text", name)
		}
		if utf8.RuneCountInString(name) > maxLabel || utf8.RuneCountInString(value) > maxLabel {
			return iot.Errorf(iot.ArgumentInvalid, "the label '%.140s' is too long: names and values have at most %d characters", name, maxLabel)
		}
	}
	return nil
}
