package robust

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestConfigurationsOverKills changes configurations and tags while the server
// is killed again and again, and wants every twin to come to what the
// configurations say that are there.
func TestConfigurationsOverKills(t *testing.T) {
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			keepPromises(t, store.args(t), func() map[string]writer {
				return map[string]writer{"configuration": &configurations{}}
			})
		})
	}
}

// configurations makes, changes and deletes configurations, and changes tags.
type configurations struct {
	tally
	ids     []string
	devices []string
	known   map[string]*cell // etag by id, empty while there is none
}

// configurationDoc is what is read of a configuration.
type configurationDoc struct {
	ID       string    `json:"id"`
	Target   string    `json:"targetCondition"`
	Priority int       `json:"priority"`
	Created  time.Time `json:"createdTimeUtc"`
	ETag     string    `json:"etag"`
	Content  struct {
		Device map[string]any `json:"deviceContent"`
	} `json:"content"`
}

func (s *configurations) prepare(w *world) error {
	s.known = map[string]*cell{}
	for i := range 3 {
		id := fmt.Sprintf("configuration-%d", i)
		s.ids = append(s.ids, id)
		s.known[id] = &cell{}
	}
	for i := range 40 {
		id := fmt.Sprintf("configured-%d", i)
		s.devices = append(s.devices, id)
		if _, err := w.call(w.t.Context(), http.MethodPut, "/devices/"+id, map[string]any{"deviceId": id}, []int{200}); err != nil {
			return err
		}
	}
	return nil
}

func (s *configurations) run(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		var err error
		if rand.IntN(2) == 0 {
			id := s.devices[rand.IntN(len(s.devices))]
			site := []any{"north", "south", nil}[rand.IntN(3)]
			_, err = w.call(ctx, http.MethodPatch, "/twins/"+id, map[string]any{"tags": map[string]any{"site": site}}, []int{200})
		} else {
			err = s.change(ctx, w)
		}
		if stop, err := s.note(err); stop {
			return err
		}
	}
	return nil
}

// change makes a configuration, or changes or deletes the one that is there.
func (s *configurations) change(ctx context.Context, w *world) error {
	id := s.ids[rand.IntN(len(s.ids))]
	c, path := s.known[id], "/configurations/"+id
	if c.known != "" && rand.IntN(3) == 0 {
		c.cut("")
		if _, err := w.call(ctx, http.MethodDelete, path, nil, []int{204}); err != nil {
			return err
		}
		c.known, c.sent = "", nil
		return nil
	}
	target := []string{"*", "tags.site = 'north'", "tags.site = 'south'", ""}[rand.IntN(4)]
	body := map[string]any{"id": id, "targetCondition": target, "priority": rand.IntN(3)}
	header, want := []string(nil), 201
	next := later(c.known)
	if c.known != "" {
		header, want = []string{"If-Match", `"` + c.known + `"`}, 200
	} else {
		v := rand.IntN(100)
		paths := []map[string]any{
			{"properties.desired.a": map[string]any{"x": float64(v)}}, {"properties.desired.a.x": float64(v), "properties.desired.b": float64(v)}, {"properties.desired.c.d": float64(v)},
		}
		body["content"] = map[string]any{"deviceContent": paths[rand.IntN(len(paths))]}
	}
	c.cut(next)
	a, err := w.call(ctx, http.MethodPut, path, body, []int{want}, header...)
	if err != nil {
		return err
	}
	var doc configurationDoc
	if err := a.Read(&doc); err != nil {
		return err
	}
	if doc.ETag != next {
		return fmt.Errorf("%s has the etag %s after %s, want %s", id, doc.ETag, c.known, next)
	}
	c.known, c.sent = next, nil
	return nil
}

// later is the etag that follows another: they count changes.
func later(etag string) string {
	b, err := base64.StdEncoding.DecodeString(etag)
	n, _ := strconv.Atoi(string(b))
	if err != nil {
		return "of a form that is not known: " + etag
	}
	return base64.StdEncoding.EncodeToString([]byte(strconv.Itoa(n + 1)))
}

func (s *configurations) check(ctx context.Context, w *world) error {
	confs, err := s.read(ctx, w)
	if err != nil {
		return err
	}
	etags := map[string]string{}
	for _, c := range confs {
		etags[c.ID] = c.ETag
	}
	for id, c := range s.known {
		if _, err := c.see("the etag of "+id, etags[id]); err != nil {
			return err
		}
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		wrong, err := s.differs(ctx, w, confs)
		if err != nil || wrong == "" {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("after half a minute %s", wrong)
		}
	}
}

func (s *configurations) read(ctx context.Context, w *world) (list []configurationDoc, err error) {
	a, err := w.call(ctx, http.MethodGet, "/configurations", nil, []int{200})
	if err == nil {
		err = a.Read(&list)
	}
	sort.Slice(list, func(i, j int) bool {
		if list[i].Priority != list[j].Priority {
			return list[i].Priority < list[j].Priority
		}
		return list[i].Created.Before(list[j].Created)
	})
	return list, err
}

// differs tells of a twin that is not as the configurations say.
func (s *configurations) differs(ctx context.Context, w *world, confs []configurationDoc) (string, error) {
	a, err := w.call(ctx, http.MethodPost, "/devices/query", map[string]any{"query": "SELECT deviceId, tags.site AS site, properties.desired AS desired, configurations AS configurations FROM devices WHERE STARTS_WITH(deviceId, 'configured-')"}, []int{200})
	if err != nil {
		return "", err
	}
	var rows []struct {
		ID             string         `json:"deviceId"`
		Site           string         `json:"site"`
		Desired        map[string]any `json:"desired"`
		Configurations map[string]any `json:"configurations"`
	}
	if err := a.Read(&rows); err != nil {
		return "", err
	}
	if len(rows) != len(s.devices) {
		return "", fmt.Errorf("%d devices, want %d", len(rows), len(s.devices))
	}
	for _, r := range rows {
		want, targets := map[string]any{}, 0
		for _, c := range confs {
			if c.Target != "*" && (r.Site == "" || !strings.Contains(c.Target, "'"+r.Site+"'")) {
				continue
			}
			targets++
			for _, path := range []string{"a", "a.x", "b", "c.d"} {
				if v, ok := c.Content.Device["properties.desired."+path]; ok {
					place(want, strings.Split(path, "."), v)
				}
			}
		}
		if have := bare(r.Desired); !reflect.DeepEqual(have, want) || len(r.Configurations) != targets {
			b, _ := json.Marshal([]any{r.ID, r.Site, have, want, r.Configurations, confs}) //nolint:errchkjson // plain values
			return string(b), nil
		}
	}
	return "", nil
}

// place puts v where path leads, in place of what is there.
func place(doc map[string]any, path []string, v any) {
	for len(path) > 1 {
		next, ok := doc[path[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			doc[path[0]] = next
		}
		doc, path = next, path[1:]
	}
	if m, ok := v.(map[string]any); ok {
		v = maps.Clone(m)
	}
	doc[path[0]] = v
}
