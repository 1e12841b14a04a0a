package robust

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// identities makes, changes and deletes devices or modules one by one, each
// time with the etag that it was told.
type identities struct {
	tally
	n      int
	module bool
	list   []*identity
	next   int
}

type identity struct {
	cell       // the text that each change sets; empty when there is none
	path, text string
	id, module string
	etag, key  string
	generation uint64
}

// identityDoc is what is read of a device or module.
type identityDoc struct {
	ETag           string `json:"etag"`
	GenerationID   string `json:"generationId"`
	StatusReason   string `json:"statusReason"`
	ManagedBy      string `json:"managedBy"`
	Authentication struct {
		SymmetricKey struct {
			PrimaryKey string `json:"primaryKey"`
		} `json:"symmetricKey"`
	} `json:"authentication"`
}

func (d *identityDoc) text() string { return d.StatusReason + d.ManagedBy }

func (s *identities) prepare(w *world) error {
	for i := range s.n {
		o := &identity{id: fmt.Sprintf("single-%d", i), text: "statusReason"}
		o.path = "/devices/" + o.id
		if s.module {
			o.id, o.module, o.text = "parent", fmt.Sprintf("m%d", i), "managedBy"
			o.path = "/devices/parent/modules/" + o.module
		}
		s.list = append(s.list, o)
	}
	if !s.module {
		return nil
	}
	_, err := w.call(w.t.Context(), http.MethodPut, "/devices/parent", map[string]any{"deviceId": "parent"}, []int{200})
	return err
}

func (s *identities) run(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		o := s.list[rand.IntN(len(s.list))]
		s.next++
		v := strconv.Itoa(s.next)
		body := map[string]any{"deviceId": o.id, o.text: v}
		if o.module != "" {
			body["moduleId"] = o.module
		}
		var a interface{ Read(any) error }
		var err error
		switch {
		case o.known == "":
			a, err = w.call(ctx, http.MethodPut, o.path, body, []int{200, 201})
		case rand.IntN(3) == 0:
			v = ""
			_, err = w.call(ctx, http.MethodDelete, o.path, nil, []int{204}, "If-Match", strconv.Quote(o.etag))
		default:
			body["etag"] = o.etag
			a, err = w.call(ctx, http.MethodPut, o.path, body, []int{200}, "If-Match", strconv.Quote(o.etag))
		}
		if stop, broken := s.note(err); stop {
			o.cut(v)
			return broken
		}
		created := o.known == ""
		o.known = v
		if v == "" {
			continue
		}
		var doc identityDoc
		if err := a.Read(&doc); err != nil {
			return err
		}
		if doc.ETag == o.etag {
			return fmt.Errorf("%s: the etag %s stayed with a change", o.path, o.etag)
		}
		if err := o.learn(&doc, created); err != nil {
			return err
		}
	}
	return nil
}

// learn takes over what the server makes, which is to stay or to rise.
func (o *identity) learn(doc *identityDoc, created bool) error {
	generation, err := strconv.ParseUint(doc.GenerationID, 10, 64)
	switch {
	case err != nil:
		return fmt.Errorf("%s: generation %q: %w", o.path, doc.GenerationID, err)
	case created && generation <= o.generation:
		return fmt.Errorf("%s was made again with generation %d after %d", o.path, generation, o.generation)
	case !created && generation != o.generation:
		return fmt.Errorf("%s has generation %d, it was %d", o.path, generation, o.generation)
	case !created && doc.Authentication.SymmetricKey.PrimaryKey != o.key:
		return fmt.Errorf("%s has another key than before", o.path)
	case doc.Authentication.SymmetricKey.PrimaryKey == "":
		return fmt.Errorf("%s has no key", o.path)
	}
	o.generation, o.etag, o.key = generation, doc.ETag, doc.Authentication.SymmetricKey.PrimaryKey
	return nil
}

func (s *identities) check(ctx context.Context, w *world) error {
	for _, o := range s.list {
		a, err := w.call(ctx, http.MethodGet, o.path, nil, []int{200, 404})
		if err != nil {
			return err
		}
		var doc identityDoc
		if a.Status == http.StatusOK {
			if err := a.Read(&doc); err != nil {
				return err
			}
		}
		before := o.known
		sure, err := o.see(o.path, doc.text())
		if err != nil {
			return err
		}
		if sure && o.known != "" && doc.ETag != o.etag {
			return fmt.Errorf("%s: etag %s, acknowledged was %s", o.path, doc.ETag, o.etag)
		}
		if o.known == "" {
			continue
		}
		stale := o.etag
		if err := o.learn(&doc, before == ""); err != nil {
			return err
		}
		if stale == o.etag || stale == "" {
			continue
		}
		// The write that had no answer was done: what was known before it is not enough any more.
		body := map[string]any{"deviceId": o.id, o.text: "never"}
		if o.module != "" {
			body["moduleId"] = o.module
		}
		if _, err := w.call(ctx, http.MethodPut, o.path, body, []int{412}, "If-Match", strconv.Quote(stale)); err != nil {
			return fmt.Errorf("with a stale etag: %w", err)
		}
	}
	return nil
}

// bulks changes a hundred devices with each call, and their twins with them.
// What is refused for one entry is refused for it alone, so each entry is a
// promise.
type bulks struct {
	tally
	devices, twins [bulkEntries]cell
	next           int
}

const bulkEntries = 100

func bulkID(i int) string { return fmt.Sprintf("bulk-%02d", i) }

func (s *bulks) prepare(*world) error { return nil }

func (s *bulks) run(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		s.next++
		v := strconv.Itoa(s.next)
		mode := [...]string{"create", "update", "updateTwin", "createOrUpdate", "delete"}[s.next%5]
		var entries []map[string]any
		var touched []int
		for i := range bulkEntries {
			there := s.devices[i].known != ""
			switch {
			case mode == "create" && there, mode == "delete" && i%2 == 0:
				continue
			case (mode == "update" || mode == "updateTwin" || mode == "delete") && !there:
				continue
			}
			e := map[string]any{"id": bulkID(i), "importMode": mode}
			if mode != "delete" && mode != "updateTwin" {
				e["statusReason"] = v
			}
			if mode == "create" || mode == "updateTwin" {
				e["tags"] = map[string]any{"n": v}
			}
			entries, touched = append(entries, e), append(touched, i)
		}
		if len(entries) == 0 {
			continue
		}
		_, err := w.call(ctx, http.MethodPost, "/devices", entries, []int{200})
		stop, broken := s.note(err)
		for _, i := range touched {
			set := func(c *cell, v string) {
				if stop {
					c.cut(v)
				} else {
					c.known = v
				}
			}
			switch mode {
			case "delete":
				set(&s.devices[i], "")
				set(&s.twins[i], "")
			case "create":
				set(&s.devices[i], v)
				set(&s.twins[i], v)
			case "updateTwin":
				set(&s.twins[i], v)
			default:
				set(&s.devices[i], v)
			}
		}
		if stop {
			return broken
		}
	}
	return nil
}

func (s *bulks) check(ctx context.Context, w *world) error {
	for i := range bulkEntries {
		id := bulkID(i)
		a, err := w.call(ctx, http.MethodGet, "/devices/"+id, nil, []int{200, 404})
		if err != nil {
			return err
		}
		var doc identityDoc
		if a.Status == http.StatusOK {
			if err := a.Read(&doc); err != nil {
				return err
			}
		}
		if _, err := s.devices[i].see(id, doc.text()); err != nil {
			return err
		}
		var twin struct {
			Tags struct {
				N string `json:"n"`
			} `json:"tags"`
		}
		if a.Status == http.StatusOK {
			a, err := w.call(ctx, http.MethodGet, "/twins/"+id, nil, []int{200})
			if err == nil {
				err = a.Read(&twin)
			}
			if err != nil {
				return err
			}
		}
		if _, err := s.twins[i].see("the twin of "+id, twin.Tags.N); err != nil {
			return err
		}
	}
	return nil
}

// imports makes plain devices by the hundred; each line of the answer is a
// promise.
type imports struct {
	tally
	next int
	made []string // "id key"
}

func (s *imports) prepare(*world) error { return nil }

func (s *imports) run(ctx context.Context, w *world) error {
	for ctx.Err() == nil {
		s.next++
		lines, err := w.imported(ctx, fmt.Sprintf("imported-%d-", s.next), 200)
		s.made = append(s.made, lines...)
		s.acknowledged += len(lines)
		if errors.Is(err, errCut) {
			s.cutOff++
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// imported asks for n devices and gives those that the answer names.
func (w *world) imported(ctx context.Context, prefix string, n int) (lines []string, err error) {
	a, err := w.AdminREST().Do(context.WithoutCancel(ctx), http.MethodPost, fmt.Sprintf("/api/devices/import?count=%d&prefix=%s", n, prefix), nil)
	in := bufio.NewScanner(bytes.NewReader(a.Body))
	whole := false
	for in.Scan() {
		var line struct {
			ID, Key string
			Created *int
			Error   *struct{ Message string }
		}
		switch jerr := json.Unmarshal(in.Bytes(), &line); {
		case jerr != nil:
			return lines, fmt.Errorf("%w: %w", errCut, jerr) // the end of what came
		case line.Error != nil:
			return lines, errors.New(line.Error.Message)
		case line.Created != nil:
			whole = true
		default:
			lines = append(lines, line.ID+" "+line.Key)
		}
	}
	if err != nil || !whole {
		return lines, fmt.Errorf("%w: %w", errCut, errors.Join(err, in.Err()))
	}
	return lines, nil
}

func (s *imports) check(ctx context.Context, w *world) error {
	// The newest are those that a kill could take; some of the others.
	sample := s.made[max(0, len(s.made)-20):]
	for range 20 {
		if len(s.made) > 0 {
			sample = append(slices.Clip(sample), s.made[rand.IntN(len(s.made))])
		}
	}
	for _, line := range sample {
		id, key, _ := strings.Cut(line, " ")
		a, err := w.call(ctx, http.MethodGet, "/devices/"+id, nil, []int{200})
		if err != nil {
			return err
		}
		var doc identityDoc
		if err := a.Read(&doc); err != nil {
			return err
		}
		if doc.Authentication.SymmetricKey.PrimaryKey != key {
			return fmt.Errorf("%s has the key %q, the import said %q", id, doc.Authentication.SymmetricKey.PrimaryKey, key)
		}
	}
	return nil
}
