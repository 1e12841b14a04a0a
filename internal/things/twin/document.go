package twin

import (
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"dunlin/internal/iot"
)

// Doc is a twin at one version. It is never changed.
type Doc struct {
	key Key
	rec record
	lim *Limits
}

// Version is the version of the whole twin.
func (d Doc) Version() int64 { return d.rec.version }

// DesiredVersion is the version of the desired properties.
func (d Doc) DesiredVersion() int64 { return d.rec.desiredVersion }

// ReportedVersion is the version of the reported properties.
func (d Doc) ReportedVersion() int64 { return d.rec.reportedVersion }

// Tags gives the tags as a JSON object.
func (d Doc) Tags() string { return d.rec.tags.text }

// Desired gives the desired properties as a JSON object, without "$metadata"
// and "$version".
func (d Doc) Desired() string { return d.rec.desired.text }

// Reported gives the reported properties likewise.
func (d Doc) Reported() string { return d.rec.reported.text }

// Model is the DTDL model id that the identity named when it connected last.
func (d Doc) Model() string { return d.rec.model }

// ETag changes with every change by the back end, not with those of the device.
func (d Doc) ETag() string { return etagText(d.rec.etag) }

// etagText is the documented form: base64 of a big-endian counter.
func etagText(n int64) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// AppendView writes the document as the device itself reads it: both property
// sections with their versions, without metadata and without tags.
func (d Doc) AppendView(dst []byte) []byte {
	dst = append(dst, `{"desired":`...)
	dst = appendVersioned(dst, d.rec.desired.text, d.rec.desiredVersion)
	dst = append(dst, `,"reported":`...)
	dst = appendVersioned(dst, d.rec.reported.text, d.rec.reportedVersion)
	return append(dst, '}')
}

// appendVersioned writes an object with "$version" as its last member.
func appendVersioned(dst []byte, object string, version int64) []byte {
	dst = append(dst, object[:len(object)-1]...)
	if len(object) > len("{}") {
		dst = append(dst, ',')
	}
	dst = append(dst, `"$version":`...)
	return append(strconv.AppendInt(dst, version, 10), '}')
}

// AppendProperties writes the value of the member "properties" as back-end
// applications read it, with the metadata of each value.
func (d Doc) AppendProperties(dst []byte) ([]byte, error) {
	dst = append(dst, `{"desired":`...)
	dst, err := d.appendSection(dst, &d.rec.desired, d.rec.desiredVersion, true)
	if err != nil {
		return dst, err
	}
	dst = append(dst, `,"reported":`...)
	dst, err = d.appendSection(dst, &d.rec.reported, d.rec.reportedVersion, false)
	return append(dst, '}'), err
}

func (d Doc) appendSection(dst []byte, s *section, version int64, versions bool) ([]byte, error) {
	n, err := s.open(d.lim)
	if err != nil {
		return dst, err
	}
	dst = append(dst, s.text[:len(s.text)-1]...)
	if len(n.members) > 0 {
		dst = append(dst, ',')
	}
	dst = append(dst, `"$metadata":`...)
	w := stampWriter{versions: versions, text: make([]byte, 0, 40)}
	dst = w.append(dst, &n)
	dst = append(dst, `,"$version":`...)
	return append(strconv.AppendInt(dst, version, 10), '}'), nil
}

// stampWriter writes the tree of times and versions. Values that were written
// together carry the same time, so its text is kept from one to the next.
type stampWriter struct {
	versions bool
	last     int64
	text     []byte
}

func (w *stampWriter) append(dst []byte, n *node) []byte {
	dst = w.stamp(dst, n)
	for i := range n.members {
		dst = append(dst, ',')
		dst = appendKey(dst, n.members[i].key)
		dst = w.append(dst, &n.members[i].val)
	}
	return append(dst, '}')
}

// stamp writes the beginning of an object: its own time and version.
func (w *stampWriter) stamp(dst []byte, n *node) []byte {
	dst = w.time(append(dst, `{"$lastUpdated":`...), n.at)
	if w.versions && n.version > 0 {
		dst = append(dst, `,"$lastUpdatedVersion":`...)
		dst = strconv.AppendInt(dst, n.version, 10)
	}
	return dst
}

// time writes the time of a stamp as a JSON string.
func (w *stampWriter) time(dst []byte, at int64) []byte {
	dst = append(dst, '"')
	switch {
	case at == 0:
		dst = append(dst, "0001-01-01T00:00:00Z"...)
	case at != w.last:
		w.last = at
		w.text = time.Unix(0, at*100).UTC().AppendFormat(w.text[:0], timeForm)
		fallthrough
	default:
		dst = append(dst, w.text...)
	}
	return append(dst, '"')
}

// timeForm is the form of times in documents.
const timeForm = "2006-01-02T15:04:05.0000000Z"

func appendTime(dst []byte, t time.Time) []byte {
	if t.IsZero() {
		return append(dst, `"0001-01-01T00:00:00Z"`...)
	}
	dst = append(dst, '"')
	return append(t.UTC().AppendFormat(dst, timeForm), '"')
}

// Identity is what the document of a twin shows of its device or module
// beyond the twin itself.
type Identity struct {
	ID                  iot.ID
	ETag                string // of the identity
	Disabled            bool
	StatusReason        *string
	StatusSince         time.Time
	Connected           bool
	LastActivity        time.Time
	Messages            int // cloud-to-device messages that wait
	AuthType            string
	PrimaryThumbprint   string
	SecondaryThumbprint string
	Edge                bool
	Scope               string
	ParentScopes        []string
	Configurations      []Configured // in the order of ids
}

// Append writes the whole document as back-end applications read it.
func (d Doc) Append(dst []byte, i *Identity) ([]byte, error) {
	dst = append(dst, `{"deviceId":`...)
	dst = appendString(dst, i.ID.Device)
	if i.ID.IsModule() {
		dst = appendString(append(dst, `,"moduleId":`...), i.ID.Module)
	}
	dst = appendString(append(dst, `,"etag":`...), d.ETag())
	dst = appendString(append(dst, `,"deviceEtag":`...), i.ETag)
	status := `,"status":"enabled"`
	if i.Disabled {
		status = `,"status":"disabled"`
	}
	dst = append(dst, status...)
	if i.StatusReason != nil {
		dst = appendString(append(dst, `,"statusReason":`...), *i.StatusReason)
	}
	dst = appendTime(append(dst, `,"statusUpdateTime":`...), i.StatusSince)
	state := `,"connectionState":"Disconnected"`
	if i.Connected {
		state = `,"connectionState":"Connected"`
	}
	dst = append(dst, state...)
	dst = appendTime(append(dst, `,"lastActivityTime":`...), i.LastActivity)
	dst = strconv.AppendInt(append(dst, `,"cloudToDeviceMessageCount":`...), int64(i.Messages), 10)
	dst = appendString(append(dst, `,"authenticationType":`...), i.AuthType)
	dst = appendOptional(append(dst, `,"x509Thumbprint":{"primaryThumbprint":`...), i.PrimaryThumbprint)
	dst = appendOptional(append(dst, `,"secondaryThumbprint":`...), i.SecondaryThumbprint)
	dst = appendString(append(dst, `},"modelId":`...), d.rec.model)
	dst = strconv.AppendInt(append(dst, `,"version":`...), d.rec.version, 10)
	dst = append(append(dst, `,"tags":`...), d.rec.tags.text...)
	dst, err := d.AppendProperties(append(dst, `,"properties":`...))
	if err != nil {
		return dst, err
	}
	dst = appendConfigurations(dst, i.Configurations)
	if i.ID.IsModule() {
		return append(dst, '}'), nil
	}
	dst = strconv.AppendBool(append(dst, `,"capabilities":{"iotEdge":`...), i.Edge)
	dst = append(dst, '}')
	if i.Scope != "" {
		dst = appendString(append(dst, `,"deviceScope":`...), i.Scope)
	}
	if len(i.ParentScopes) > 0 {
		dst = append(dst, `,"parentScopes":[`...)
		for n, p := range i.ParentScopes {
			if n > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, p)
		}
		dst = append(dst, ']')
	}
	return append(dst, '}'), nil
}

func appendConfigurations(dst []byte, list []Configured) []byte {
	if len(list) == 0 {
		return dst
	}
	dst = append(dst, `,"configurations":{`...)
	for n := range list {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = appendKey(dst, list[n].Configuration)
		dst = append(appendString(append(dst, `{"status":`...), list[n].Status), '}')
	}
	return append(dst, '}')
}

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, null...)
	}
	return appendString(dst, s)
}
