package robust

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// TestFilesOverKills uploads files while the server is killed again and again:
// a file that was acknowledged is there whole, one that was not is whole or
// not there, and every upload that was said to have ended is told of once.
func TestFilesOverKills(t *testing.T) {
	for _, store := range stores {
		t.Run(store.name, func(t *testing.T) {
			t.Parallel()
			keepPromises(t, store.args(t), func() map[string]writer {
				return map[string]writer{"file": &uploads{n: 3}}
			})
		})
	}
}

// uploads are devices that upload files, one after the other: in one piece and
// in blocks. A new device takes over after each kill, as those before may have
// as many uploads open as they may.
type uploads struct {
	n     int
	lives int

	mu    sync.Mutex
	total tally
	files map[string]*uploadedFile // by name
	told  map[string]int           // notifications seen and completed
}

// uploadedFile is what was promised of a file.
type uploadedFile struct {
	text   []byte
	query  string // the signature of its address
	stored bool   // the upload was acknowledged
	ended  bool   // and so was its end
	sent   bool   // its end was sent, at least
}

func (u *uploads) prepare(*world) error {
	u.files, u.told = map[string]*uploadedFile{}, map[string]int{}
	return nil
}

func (u *uploads) counts() (int, int) { return u.total.counts() }

func (u *uploads) run(ctx context.Context, w *world) error {
	u.lives++
	return together(u.n, func(i int) error {
		id := fmt.Sprintf("camera-%d-%d", u.lives, i)
		_, err := w.call(ctx, http.MethodPut, "/devices/"+id, map[string]any{"deviceId": id}, []int{200})
		for n := 0; err == nil && ctx.Err() == nil; n++ {
			err = u.one(ctx, w, id, n, i%2 == 0)
			u.mu.Lock()
			_, broken := u.total.note(err)
			u.mu.Unlock()
			if broken != nil {
				return broken
			}
		}
		if errors.Is(err, errCut) {
			return nil
		}
		return err
	}, func() {})
}

// one uploads a file in its three steps.
func (u *uploads) one(ctx context.Context, w *world, id string, n int, whole bool) error {
	name := fmt.Sprintf("dir-%d/%d.bin", n%3, n)
	a, err := w.call(ctx, http.MethodPost, "/devices/"+id+"/files", map[string]any{"blobName": name}, []int{200})
	if err != nil {
		return err
	}
	var ticket struct{ CorrelationID, ContainerName, BlobName, SASToken string }
	if err := a.Read(&ticket); err != nil {
		return err
	}
	f := &uploadedFile{text: bytes.Repeat(fmt.Appendf(nil, "%s %d\n", id, n), 2000), query: ticket.SASToken}
	u.mu.Lock()
	u.files[ticket.BlobName] = f
	u.mu.Unlock()
	path := "/" + ticket.ContainerName + "/" + ticket.BlobName + ticket.SASToken
	if whole {
		_, err = answered(ctx, w.owner, http.MethodPut, path, f.text, []int{201}, "x-ms-blob-type", "BlockBlob")
	} else {
		err = u.blocks(ctx, w, path, f.text)
	}
	if err != nil {
		return err
	}
	f.stored, f.sent = true, true
	_, err = w.call(ctx, http.MethodPost, "/devices/"+id+"/files/notifications/"+url.PathEscape(ticket.CorrelationID), map[string]any{"isSuccess": true, "statusCode": 201}, []int{204})
	f.ended = err == nil
	return err
}

func (u *uploads) blocks(ctx context.Context, w *world, path string, text []byte) error {
	var list strings.Builder
	list.WriteString("<BlockList>")
	for k := 0; len(text) > 0; k++ {
		id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%03d", k))
		part := text[:min(len(text), 15_000)]
		if _, err := answered(ctx, w.owner, http.MethodPut, path+"&comp=block&blockid="+url.QueryEscape(id), part, []int{201}); err != nil {
			return err
		}
		list.WriteString("<Latest>" + id + "</Latest>")
		text = text[len(part):]
	}
	list.WriteString("</BlockList>")
	_, err := answered(ctx, w.owner, http.MethodPut, path+"&comp=blocklist", []byte(list.String()), []int{201})
	return err
}

func (u *uploads) check(ctx context.Context, w *world) error {
	for name, f := range u.files {
		a, err := answered(ctx, w.owner, http.MethodGet, "/uploads/"+name+f.query, nil, []int{200, 404})
		if err != nil {
			return err
		}
		switch {
		case a.Status == 404 && f.stored:
			return fmt.Errorf("%s was acknowledged and is not there", name)
		case a.Status == 200 && !bytes.Equal(a.Body, f.text):
			return fmt.Errorf("%s has %d bytes that are not those of the file, which has %d", name, len(a.Body), len(f.text))
		}
	}
	return u.drain(ctx, w)
}

// drain takes all notifications, and compares them with what was promised.
func (u *uploads) drain(ctx context.Context, w *world) error {
	const path = "/messages/serviceBound/filenotifications"
	for {
		a, err := w.call(ctx, http.MethodGet, path, nil, []int{200, 204})
		if err != nil {
			return err
		}
		if a.Status == 204 {
			break
		}
		var note struct {
			BlobName        string
			BlobSizeInBytes int
		}
		if err := a.Read(&note); err != nil {
			return err
		}
		f := u.files[note.BlobName]
		if f == nil || !f.sent || note.BlobSizeInBytes != len(f.text) {
			return fmt.Errorf("told of %s, %d bytes: %+v", note.BlobName, note.BlobSizeInBytes, f != nil)
		}
		u.told[note.BlobName]++
		if _, err := w.call(ctx, http.MethodDelete, path+"/"+strings.Trim(a.Header.Get("ETag"), `"`), nil, []int{204}); err != nil {
			return err
		}
	}
	for name, f := range u.files {
		if n := u.told[name]; n > 1 || n == 0 && f.ended {
			return fmt.Errorf("%s was told of %d times, its end was acknowledged: %v", name, n, f.ended)
		}
	}
	return nil
}
