package robust

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"time"

	"dunlin/test/harness"
)

// witness believes the events alone: at the end, the identities and twins that
// follow from the log must be those that the server has. A change without its
// event would be missing, an event without its change would be too much.
type witness struct{}

func (witness) prepare(*world) error                    { return nil }
func (witness) check(context.Context, *world) error     { return nil }
func (witness) run(ctx context.Context, _ *world) error { <-ctx.Done(); return nil }
func (witness) counts() (int, int)                      { return 1, 1 } // the others write

// finish may find others at work, who change things at their own end.
func (witness) finish(ctx context.Context, w *world) error {
	var wrong error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		if wrong = compareWithEvents(ctx, w); wrong == nil {
			return nil
		}
	}
	return wrong
}

// copied is an identity with its twin.
type copied struct {
	Version    int64                     `json:"version"`
	Tags       map[string]any            `json:"tags"`
	Properties map[string]map[string]any `json:"properties"`
}

func compareWithEvents(ctx context.Context, w *world) error {
	have := map[string]*copied{}
	for _, from := range []string{"devices", "devices.modules"} {
		if err := queryAll(ctx, w, "SELECT * FROM "+from, have); err != nil {
			return err
		}
	}
	events, err := w.TailErr("--source", "twin,lifecycle")
	if err != nil {
		return err
	}
	told, merged, doubled, err := replay(events)
	if err != nil {
		return err
	}
	for id, h := range have {
		e := told[id]
		if e == nil {
			return fmt.Errorf("events say nothing of %s, which exists", id)
		}
		if e.Version != h.Version || !reflect.DeepEqual(e.Tags, h.Tags) || !reflect.DeepEqual(e.Properties, h.Properties) {
			return fmt.Errorf("%s is\n%+v, events make it\n%+v", id, *h, *e)
		}
	}
	for id := range told {
		if have[id] == nil {
			return fmt.Errorf("events tell of %s, which does not exist", id)
		}
	}
	if len(have) == 0 || merged == 0 {
		return fmt.Errorf("%d identities and %d changes of twins: the test did not do what it says", len(have), merged)
	}
	w.t.Logf("%d events, %d of them twice, tell of %d identities", len(events), doubled, len(have))
	return nil
}

// queryAll reads every page of a query.
func queryAll(ctx context.Context, w *world, query string, into map[string]*copied) error {
	header := []string{"x-ms-max-item-count", "1000"}
	for {
		a, err := w.call(ctx, http.MethodPost, "/devices/query", map[string]string{"query": query}, []int{200}, header...)
		if err != nil {
			return err
		}
		var page []struct {
			copied
			Device string `json:"deviceId"`
			Module string `json:"moduleId"`
		}
		if err := a.Read(&page); err != nil {
			return err
		}
		for i := range page {
			p := &page[i]
			p.plain()
			into[p.Device+"/"+p.Module] = &p.copied
		}
		next := a.Header.Get("x-ms-continuation")
		if next == "" {
			return nil
		}
		header = []string{"x-ms-max-item-count", "1000", "x-ms-continuation", next}
	}
}

// plain leaves out times, and makes what is not there empty.
func (c *copied) plain() {
	if c.Tags == nil {
		c.Tags = map[string]any{}
	}
	for _, section := range c.Properties {
		delete(section, "$metadata")
	}
}

// replay makes twins of events. An event that comes twice counts once.
func replay(events []harness.Event) (told map[string]*copied, merged, doubled int, err error) {
	told = map[string]*copied{}
	seen := map[any]bool{}
	for _, e := range events {
		correlation := e.SystemProperties["correlation-id"]
		if seen[correlation] {
			doubled++
			continue
		}
		seen[correlation] = true
		id := e.DeviceID + "/" + e.ModuleID
		var body copied
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return nil, 0, 0, fmt.Errorf("%s: %w in %s", id, err, e.Body)
		}
		body.plain()
		t := told[id]
		switch op := e.Properties["opType"]; op {
		case "createDeviceIdentity":
			told[id] = &body
		case "deleteDeviceIdentity":
			delete(told, id)
		case "replaceTwin", "updateTwin":
			if t == nil {
				continue // changed while it was deleted
			}
			if body.Version <= t.Version {
				return nil, 0, 0, fmt.Errorf("%s: %s to version %d comes after version %d", id, op, body.Version, t.Version)
			}
			merged++
			if op == "replaceTwin" {
				*t = body
				continue
			}
			t.Version = body.Version
			mergeInto(t.Tags, body.Tags)
			for name, section := range body.Properties {
				mergeInto(t.Properties[name], section)
			}
		default:
			return nil, 0, 0, fmt.Errorf("%s: opType %q", id, op)
		}
	}
	return told, merged, doubled, nil
}

func mergeInto(to, patch map[string]any) {
	for k, v := range patch {
		if m, ok := v.(map[string]any); ok {
			was, ok := to[k].(map[string]any)
			if !ok {
				was = map[string]any{}
			}
			was = maps.Clone(was)
			mergeInto(was, m)
			to[k] = was
			continue
		}
		if v == nil {
			delete(to, k)
			continue
		}
		to[k] = v
	}
}
