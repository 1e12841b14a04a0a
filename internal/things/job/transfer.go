package job

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"dunlin/internal/engine/blob"
	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

// Transfer is what import and export need. The functions may be called by any
// goroutine.
type Transfer struct {
	Blobs blob.Store
	// Container finds the container that an address names, and what whoever
	// has the address may do there. identity says that the address has no
	// signature: the hub is asked to use its own right.
	Container func(uri string, identity bool) (name string, read, write bool, err error)

	// Count counts the devices, for the progress of an export.
	Count func(ctx context.Context) (int64, error)
	// Export appends a line for each of up to n devices, those after the id
	// after, and for their modules.
	Export func(ctx context.Context, after string, n int, keys bool, dst []byte) (Exported, error)
	// Import does what lines say, in their order as far as it matters, and
	// gives what was refused. An error is for all of them: some may be done.
	Import func(ctx context.Context, lines []Line) ([]Refused, error)

	// ExportConfigurations gives a line for each configuration; nil when there
	// are none.
	ExportConfigurations func(ctx context.Context) ([][]byte, error)
	// ImportConfiguration makes or changes the configuration of a line; nil
	// likewise.
	ImportConfiguration func(ctx context.Context, line []byte) error
}

// Exported is a page of an export.
type Exported struct {
	Lines   []byte // dst with the lines behind it, each with a line feed
	Devices int
	Last    string // where the next page begins
	More    bool
}

// Line is one line of an import.
type Line struct {
	Number int64 // from 1
	Text   []byte
	// Again says that the line may have been done before: that it was is no
	// error then.
	Again bool
}

// Refused is a line that was not done.
type Refused struct {
	Line      int64
	ID        iot.ID // as far as it could be read
	Operation string
	Err       *iot.Error
}

// TransferSpec is an import or export as a caller asks for it, and as it is
// stored, then without the signatures of its addresses.
type TransferSpec struct {
	Type           string `json:"type"`
	Input          string `json:"inputBlobContainerUri,omitempty"`
	Output         string `json:"outputBlobContainerUri,omitempty"`
	InputBlob      string `json:"inputBlobName,omitempty"`
	OutputBlob     string `json:"outputBlobName,omitempty"`
	ExcludeKeys    bool   `json:"excludeKeysInExport"`
	Authentication string `json:"storageAuthenticationType,omitempty"`
	Configurations bool   `json:"includeConfigurations,omitempty"`
	ConfigBlob     string `json:"configurationsBlobName,omitempty"`

	InputContainer  string `json:"inputContainer,omitempty"`
	OutputContainer string `json:"outputContainer,omitempty"`
	InputETag       string `json:"inputETag,omitempty"` // of the blob that the import has begun with
}

// The names of blobs that a caller need not give.
const (
	devicesBlob = "devices.txt"
	configBlob  = "configurations.txt"
	errorsBlob  = "importErrors.log"
)

// StartTransfer begins an import or export, one at a time.
func (r *Room) StartTransfer(ctx context.Context, s TransferSpec) (Job, error) {
	now := time.Now().UTC()
	j := Job{Status: Enqueued, Created: now, Start: now, MaxTime: History}
	if r.deps.Transfer == nil {
		return j, iot.Errorf(iot.OperationNotAvailable, "identities cannot be imported or exported here: this process has no blob store")
	}
	var err error
	if j.Kind, err = s.check(r.deps.Transfer); err != nil {
		return j, err
	}
	if j.Content, err = json.Marshal(s); err != nil {
		return j, fmt.Errorf("job: %w", err)
	}
	j.ID = newID()
	err = r.db.Write(ctx, func(tx state.Tx) error {
		var other string
		err := tx.QueryRow(ctx, "SELECT COALESCE(min(id), '') FROM job WHERE settled = 0 AND kind < 3 AND status < 10").Scan(&other)
		if err != nil {
			return err
		}
		if other != "" {
			return iot.Errorf(iot.JobQuotaExceeded, "the import or export %s has not ended and only 1 at a time is possible: wait for it, or cancel it", other)
		}
		return insert(ctx, tx, &j)
	})
	if err != nil {
		return j, stored(err, "store an import or export")
	}
	r.launch(j)
	return j, nil
}

// newID gives the form of a random UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// check completes a spec, finds its containers and takes the signatures away.
func (s *TransferSpec) check(t *Transfer) (Kind, error) {
	var k Kind
	switch {
	case strings.EqualFold(s.Type, Export.String()):
		k = Export
	case strings.EqualFold(s.Type, Import.String()):
		k = Import
	default:
		return 0, iot.Errorf(iot.ArgumentInvalid, "the type '%.40s' is not one of an import or export job: import or export", s.Type)
	}
	s.Type = k.String()
	identity := false
	switch {
	case s.Authentication == "" || strings.EqualFold(s.Authentication, "keyBased"):
	case strings.EqualFold(s.Authentication, "identityBased"):
		identity = true
	default:
		return 0, iot.Errorf(iot.ArgumentInvalid, "storageAuthenticationType '%.40s' is not known: use keyBased or identityBased", s.Authentication)
	}
	if s.Output == "" {
		return 0, iot.Errorf(iot.ArgumentNull, "outputBlobContainerUri is missing")
	}
	name, _, write, err := t.Container(s.Output, identity)
	switch {
	case err != nil:
		return 0, named("outputBlobContainerUri", err)
	case !write:
		return 0, iot.Errorf(iot.ArgumentInvalid, "outputBlobContainerUri does not allow to write: its signature needs the permission w")
	}
	s.OutputContainer, s.Output = name, unsigned(s.Output)
	if k == Import {
		if s.Input == "" {
			return 0, iot.Errorf(iot.ArgumentNull, "inputBlobContainerUri is missing")
		}
		name, read, _, err := t.Container(s.Input, identity)
		switch {
		case err != nil:
			return 0, named("inputBlobContainerUri", err)
		case !read:
			return 0, iot.Errorf(iot.ArgumentInvalid, "inputBlobContainerUri does not allow to read: its signature needs the permission r")
		}
		s.InputContainer, s.Input = name, unsigned(s.Input)
	}
	for _, b := range []struct {
		name     string
		value    *string
		ordinary string
	}{{"inputBlobName", &s.InputBlob, devicesBlob}, {"outputBlobName", &s.OutputBlob, devicesBlob}, {"configurationsBlobName", &s.ConfigBlob, configBlob}} {
		if *b.value == "" {
			*b.value = b.ordinary
		}
		if !blob.ValidName(*b.value) {
			return 0, iot.Errorf(iot.ArgumentInvalid, "%s is not a name that a blob can have", b.name)
		}
	}
	return k, nil
}

func named(name string, err error) error {
	var domain *iot.Error
	if !errors.As(err, &domain) {
		return err
	}
	return &iot.Error{Code: domain.Code, Message: name + ": " + domain.Message, Err: domain.Err}
}

// unsigned takes the query away from an address: its signature is a secret.
func unsigned(uri string) string {
	plain, _, _ := strings.Cut(uri, "?")
	return plain
}

// Transfer gives what an import or export was asked for.
func (j *Job) Transfer() (s TransferSpec, err error) {
	err = json.Unmarshal(j.Content, &s)
	return s, err
}

// GetTransfer gives an import or export with its progress of the moment.
func (r *Room) GetTransfer(ctx context.Context, id string) (Job, error) {
	j, err := r.Job(ctx, id)
	if err == nil && j.Kind.Scheduled() {
		return Job{}, errNoJob(id)
	}
	return j, err
}

// CancelTransfer ends an import or export. What an import has done stays done.
func (r *Room) CancelTransfer(ctx context.Context, id string) error {
	if _, err := r.GetTransfer(ctx, id); err != nil {
		return err
	}
	_, err := r.Cancel(ctx, id)
	return err
}

// transfer does an import or export.
func (r *Room) transfer(ctx context.Context, o *open) error {
	t := r.deps.Transfer
	if t == nil {
		return iot.Errorf(iot.OperationNotAvailable, "identities cannot be imported or exported here: this process has no blob store")
	}
	s, err := o.job.Transfer()
	if err != nil {
		return fmt.Errorf("job: %w", err)
	}
	if o.job.Status != Running {
		o.job.Begun = time.Now().UTC()
		if err := r.become(ctx, o, Running); err != nil {
			return err
		}
	}
	r.metrics.running.Inc()
	defer r.metrics.running.Dec()
	if o.job.Kind == Export {
		err = r.export(ctx, o, t, &s)
	} else {
		err = r.importAll(ctx, o, t, &s)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return blobError(err)
}

// blobError turns an error of the blob store into one of the domain.
func blobError(err error) error {
	code := iot.InvalidBlob
	switch {
	case errors.Is(err, blob.ErrFull):
		code = iot.ServiceUnavailable
	case errors.Is(err, blob.ErrNoContainer), errors.Is(err, blob.ErrNotFound), errors.Is(err, blob.ErrCondition), errors.Is(err, blob.ErrDamaged), errors.Is(err, blob.ErrName):
	default:
		return err
	}
	return &iot.Error{Code: code, Message: strings.TrimPrefix(err.Error(), "blob: ")}
}

// patient repeats what the store cannot do at the moment.
func patient(ctx context.Context, do func() error) error {
	for pause := again; ; pause = min(2*pause, time.Minute) {
		err := do()
		if err == nil || !transient(err) {
			return err
		}
		if err := rest(ctx, pause); err != nil {
			return err
		}
	}
}
