package dir

import (
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/blob/blobtest"
)

func TestSuite(t *testing.T) {
	blobtest.Run(t, func(t *testing.T) blobtest.Opener {
		path := filepath.Join(t.TempDir(), "blobs")
		return func(t *testing.T) (blob.Store, func()) {
			s := open(t, path)
			return s, func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{Path: path, Reserve: 1, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}
