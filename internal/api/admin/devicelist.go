package admin

import (
	"net/http"
	"strconv"
	"time"

	"dunlin/internal/iot"
	"dunlin/internal/things/registry"
)

// Device is a device in a list: what people look for, without its keys. The
// public REST surface shows a device whole; it cannot list more than 1,000.
type Device struct {
	ID              string     `json:"deviceId"`
	Generation      string     `json:"generationId"`
	Status          string     `json:"status"`
	ConnectionState string     `json:"connectionState"`
	ConnectionSince time.Time  `json:"connectionStateUpdatedTime"` // the year 1 is never
	LastActivity    time.Time  `json:"lastActivityTime"`           // the year 1 is never
	Authentication  DeviceAuth `json:"authentication"`
}

// DeviceAuth says how a device proves itself.
type DeviceAuth struct {
	Type string `json:"type"`
}

// listDevices answers GET /api/devices?top=N&after=ID: an array in the order
// of ids, those behind the id.
func (s *server) listDevices(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	n := registry.MaxPage
	if top := q.Get("top"); top != "" {
		v, err := strconv.Atoi(top)
		if err != nil || v < 1 || v > registry.MaxPage {
			s.fail(w, r, iot.Errorf(iot.ArgumentInvalid, "top '%.20s' is not valid: 1 to %d", top, registry.MaxPage))
			return
		}
		n = v
	}
	list, err := s.service().Devices(r.Context(), q.Get("after"), n)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := make([]Device, len(list))
	for i := range list {
		d := &list[i]
		state := "Disconnected"
		if d.Connected {
			state = "Connected"
		}
		out[i] = Device{
			ID: d.ID, Generation: strconv.FormatUint(d.Generation, 10), Status: d.Status.String(), ConnectionState: state,
			ConnectionSince: d.Since, LastActivity: d.Last, Authentication: DeviceAuth{d.Proof.String()},
		}
	}
	s.reply(w, r, out)
}
