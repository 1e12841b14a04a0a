package admin

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/iot"
	"dunlin/internal/wire/blobsas"
)

// FileAccess asks for the address of a container or, with a name, of a file.
type FileAccess struct {
	Container   string  `json:"container"` // empty: that of the files of devices
	Name        string  `json:"name"`
	Permissions string  `json:"permissions"` // letters of racwdl
	Seconds     float64 `json:"seconds"`     // how long it is good
}

// FileAddress is the answer: an address with its signature, for any client of
// the public blob interface.
type FileAddress struct {
	URI string `json:"uri"`
}

// maxFileAccess bounds the body of a FileAccess, in bytes.
const maxFileAccess = 64 << 10

// fileRoutes lists the operations of files. Files themselves are read and
// written at the blob surface, with an address from here.
//
//	GET  /api/files/containers   an array of names
//	POST /api/files/access       body: FileAccess; answers FileAddress
func (s *server) fileRoutes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /api/files/containers": s.listContainers,
		"POST /api/files/access":    s.grantFiles,
	}
}

func (s *server) listContainers(w http.ResponseWriter, r *http.Request) {
	list, err := s.service().Containers(r.Context())
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if list == nil {
		list = []string{}
	}
	s.reply(w, r, list)
}

func (s *server) grantFiles(w http.ResponseWriter, r *http.Request) {
	var in FileAccess
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxFileAccess)).Decode(&in); err != nil {
		if large, ok := errors.AsType[*http.MaxBytesError](err); ok {
			err = iot.Errorf(iot.MessageTooLarge, "the body is larger than %d bytes", large.Limit)
		} else {
			err = iot.Errorf(iot.DeserializationError, "the body is not valid JSON: %w", err)
		}
		s.fail(w, r, err)
		return
	}
	p, ok := blobsas.ParsePermissions(in.Permissions)
	if !ok {
		s.fail(w, r, iot.Errorf(iot.ArgumentInvalid, "'%.40s' are no permissions: letters of r (read), a (add), c (create), w (write), d (delete), l (list)", in.Permissions))
		return
	}
	const second = float64(time.Second)
	life := time.Duration(min(in.Seconds, 1e9) * second)
	uri, err := s.service().GrantFiles(r.Context(), blob.Ref{Container: in.Container, Name: in.Name}, p, life)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.reply(w, r, FileAddress{URI: uri})
}
