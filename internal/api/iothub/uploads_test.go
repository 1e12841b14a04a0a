package iothub

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"dunlin/internal/engine/blob/dir"
	"dunlin/internal/engine/state"
	"dunlin/internal/hub"
	"dunlin/internal/things/upload"
	"dunlin/internal/trust/grant"
)

// OpenUploads opens what the upload of files needs, in a directory of the test.
func OpenUploads(t *testing.T, db state.DB) hub.ServiceDeps {
	t.Helper()
	store, err := dir.Open(t.Context(), dir.Config{Path: filepath.Join(t.TempDir(), "blobs"), Reserve: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	grants, err := grant.Open(t.Context(), grant.Deps{
		DB: db, Account: "hub", Host: func() string { return "hub.example:8443" }, Ours: func(host string) bool { return strings.HasPrefix(host, "hub.example") },
	})
	if err != nil {
		t.Fatal(err)
	}
	uploads, err := upload.Open(t.Context(), upload.Deps{
		DB: db, Blobs: store, Grants: grants, Container: "uploads", Limits: upload.StrictLimits(), Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return hub.ServiceDeps{Uploads: uploads, Blobs: store, Grants: grants}
}
