//go:build unix

package dir

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"dunlin/internal/engine/blob"
)

const killDir = "DUNLIN_TEST_KILL_BLOBS"

// content is version n of a blob: its number, over and over.
func content(n int) string { return strings.Repeat(fmt.Sprintf("%08d", n), 1000+n%50*997) }

// version tells which version a text is, and whether it is whole.
func version(text string) (int, bool) {
	n, err := strconv.Atoi(text[:min(8, len(text))])
	return n, err == nil && text == content(n)
}

const killBlobs = 4

// TestKilledWriter is the other half of TestKill: it writes and says what was
// acknowledged until it is killed.
func TestKilledWriter(t *testing.T) {
	path := os.Getenv(killDir)
	if path == "" {
		return // TestKill starts it
	}
	s := open(t, path)
	ctx := context.Background()
	if err := s.MakeContainer(ctx, "box"); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	acknowledge := func(i, n int) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("ok %d %d\n", i, n)
	}
	var wait sync.WaitGroup
	for i := range killBlobs {
		wait.Go(func() {
			ref := killRef(i)
			first := 0
			if p, r, err := s.Open(ctx, ref, 0, 8); err == nil && p.Size > 0 {
				b, _ := io.ReadAll(r)
				r.Close()
				first, _ = strconv.Atoi(string(b))
			}
			for n := first + 1; ; n++ {
				text := content(n)
				var err error
				switch i % 2 {
				case 0:
					_, err = s.Put(ctx, ref, strings.NewReader(text), blob.WriteOptions{})
				default:
					var list []blob.BlockRef
					for k := 0; len(text) > 0 && err == nil; k++ {
						id, part := fmt.Sprintf("%d", k), text[:min(len(text), 20_000)]
						_, err = s.Stage(ctx, ref, id, strings.NewReader(part), 0)
						list, text = append(list, blob.BlockRef{ID: id}), text[len(part):]
					}
					if err == nil {
						_, err = s.Commit(ctx, ref, list, blob.WriteOptions{})
					}
				}
				if err != nil {
					t.Error(err)
					return
				}
				acknowledge(i, n)
			}
		})
	}
	wait.Wait()
}

func killRef(i int) blob.Ref { return blob.Ref{Container: "box", Name: fmt.Sprintf("dir/%d/x", i)} }

// TestKill kills a writer again and again: whatever was acknowledged is there,
// every blob is one whole version, and nothing is left of what was not.
func TestKill(t *testing.T) {
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	path := filepath.Join(t.TempDir(), "blobs")
	last := make([]int, killBlobs)
	swept := 0
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), killDir+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(300*time.Millisecond+rand.N(700*time.Millisecond), func() { cmd.Process.Kill() })
		for sc := bufio.NewScanner(out); sc.Scan(); {
			var i, n int
			if _, err := fmt.Sscanf(sc.Text(), "ok %d %d", &i, &n); err != nil {
				t.Errorf("the writer says %q", sc.Text())
				continue
			}
			last[i] = n
		}
		timer.Stop()
		cmd.Wait() // it was killed
		swept += lookAfterKill(t, path, last)
	}
	t.Logf("acknowledged versions %d, %d orphans", last, swept)
	if last[0] == 0 || last[1] == 0 {
		t.Error("nothing was written")
	}
}

func lookAfterKill(t *testing.T, path string, last []int) (swept int) {
	t.Helper()
	s := open(t, path)
	defer s.Close()
	if !s.killed {
		t.Error("the store does not know that it was killed")
	}
	if list, err := s.entries(tmpDir); err != nil || len(list) > 0 {
		t.Errorf("tmp holds %v, %v", list, err)
	}
	for i := range killBlobs {
		_, r, err := s.Open(t.Context(), killRef(i), 0, -1)
		if errors.Is(err, blob.ErrNotFound) && last[i] == 0 {
			continue
		}
		if err != nil {
			t.Errorf("blob %d: %v", i, err)
			continue
		}
		b, err := io.ReadAll(r)
		r.Close()
		if n, whole := version(string(b)); err != nil || !whole || n < last[i] || n > last[i]+1 {
			t.Errorf("blob %d is version %d, whole %v, %v; %d was acknowledged", i, n, whole, err, last[i])
		}
	}
	swept, err := s.sweep(t.Context())
	if err != nil {
		t.Error(err)
	}
	// What is left is what the blobs need.
	found := 0
	err = filepath.WalkDir(filepath.Join(path, "blobs"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasPrefix(d.Name(), contentMark) {
			found++
		}
		return err
	})
	if page, lerr := s.List(t.Context(), "box", blob.ListOptions{Max: 100}); lerr == nil && found != len(page.Entries) {
		t.Errorf("%d contents for %d blobs", found, len(page.Entries))
	} else if err = errors.Join(err, lerr); err != nil && !errors.Is(err, blob.ErrNoContainer) && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if n, err := s.sweep(t.Context()); n != 0 || err != nil && !bytes.Contains([]byte(err.Error()), []byte("container")) {
		t.Errorf("a second sweep found %d, %v", n, err)
	}
	return swept
}
