package hub

import (
	"context"
	"sync"

	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/job"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
)

// StartTransfer begins an import or export of identities.
func (s *Service) StartTransfer(ctx context.Context, spec job.TransferSpec) (job.Job, error) {
	if err := s.writing(ctx, "jobs/create", 1); err != nil {
		return job.Job{}, err
	}
	return s.deps.Jobs.StartTransfer(ctx, spec)
}

// Transfers lists the imports and exports that are remembered.
func (s *Service) Transfers(ctx context.Context) ([]job.Job, error) {
	if err := s.reading(ctx, "jobs"); err != nil {
		return nil, err
	}
	return s.deps.Jobs.Transfers(ctx)
}

// Transfer gives an import or export with its progress.
func (s *Service) Transfer(ctx context.Context, id string) (job.Job, error) {
	if err := s.reading(ctx, "jobs/"+id); err != nil {
		return job.Job{}, err
	}
	return s.deps.Jobs.GetTransfer(ctx, id)
}

// CancelTransfer ends an import or export.
func (s *Service) CancelTransfer(ctx context.Context, id string) error {
	if err := s.writing(ctx, "jobs/"+id, 1); err != nil {
		return err
	}
	return s.deps.Jobs.CancelTransfer(ctx, id)
}

// Page is a part of all identities, with their twins.
type Page struct {
	Devices []registry.Device
	Modules map[string][]registry.Module // by device
	Twins   map[iot.ID]twin.Doc          // of all of them
	Last    string                       // where the next page begins
	More    bool
}

// Identities gives up to n devices after the id after, in the order of ids,
// with their modules and the twins of all of them. The connection state is the
// one that is stored.
func (s *Service) Identities(ctx context.Context, after string, n int) (p Page, err error) {
	if err := s.read("devices"); err != nil {
		return p, err
	}
	if p.Devices, p.Modules, p.Last, p.More, err = s.deps.Registry.Page(ctx, after, n); err != nil || len(p.Devices) == 0 {
		return p, err
	}
	if p.Twins, err = s.deps.Twins.Between(ctx, p.Devices[0].ID, p.Devices[len(p.Devices)-1].ID); err != nil {
		return p, err
	}
	own := func(id iot.ID, generation uint64) {
		if d, ok := p.Twins[id]; !ok || d.Generation() != generation {
			p.Twins[id] = s.deps.Twins.Unchanged(twin.Key{ID: id, Generation: generation})
		}
	}
	for i := range p.Devices {
		own(iot.ID{Device: p.Devices[i].ID}, p.Devices[i].Generation)
	}
	for _, list := range p.Modules {
		for i := range list {
			own(list[i].ID, list[i].Generation)
		}
	}
	return p, nil
}

// ImportEntry is an entry of a bulk call that stood in a line of a file.
type ImportEntry struct {
	BulkEntry
	Line  int64
	Again bool // may have been done before: that it was is no error
}

// importCalls is how many bulk calls of an import are under way at a time:
// they share commits, and others come in between.
const importCalls = 4

// ImportEntries does entries, any number of them, as bulk calls do, at whatever
// rate. Entries of one device and its modules are done in their order.
func (s *Service) ImportEntries(ctx context.Context, entries []ImportEntry) (refused []job.Refused, err error) {
	if err := s.write("devices"); err != nil {
		return nil, err
	}
	for len(entries) > 0 {
		var round []ImportEntry
		round, entries = firsts(entries)
		list, err := s.importRound(ctx, round)
		if err != nil {
			return nil, err
		}
		refused = append(refused, list...)
	}
	return refused, nil
}

// firsts gives what is the first of its identity, entries of one device side by
// side, and what must be done after these.
func firsts(entries []ImportEntry) (round, later []ImportEntry) {
	seen := make(map[iot.ID]bool, len(entries))
	place := map[string]int{} // groups by device
	var groups [][]ImportEntry
	for _, e := range entries {
		id := e.ID()
		if seen[id] {
			later = append(later, e)
			continue
		}
		seen[id] = true
		n, ok := place[id.Device]
		if !ok {
			n = len(groups)
			place[id.Device] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], e)
	}
	for _, g := range groups {
		round = append(round, g...)
	}
	return round, later
}

func (s *Service) importRound(ctx context.Context, round []ImportEntry) (refused []job.Refused, err error) {
	var calls [][]ImportEntry
	for from := 0; from < len(round); {
		to := min(from+registry.MaxBulk, len(round))
		// A device and its modules belong into one call, as far as one can hold
		// them: calls are done side by side.
		if to < len(round) {
			cut := to
			for cut > from && round[cut].ID().Device == round[cut-1].ID().Device {
				cut--
			}
			if cut > from {
				to = cut
			}
		}
		calls = append(calls, round[from:to])
		from = to
	}
	var mu sync.Mutex
	var wait sync.WaitGroup
	turn := make(chan struct{}, importCalls)
	for i, call := range calls {
		if i > 0 && call[0].ID().Device == calls[i-1][len(calls[i-1])-1].ID().Device {
			wait.Wait() // more entries than one call can hold
		}
		turn <- struct{}{}
		wait.Go(func() {
			defer func() { <-turn }()
			list, cerr := s.importCall(ctx, call)
			mu.Lock()
			defer mu.Unlock()
			refused = append(refused, list...)
			if err == nil {
				err = cerr
			}
		})
	}
	wait.Wait()
	return refused, err
}

func (s *Service) importCall(ctx context.Context, call []ImportEntry) (refused []job.Refused, err error) {
	entries := make([]BulkEntry, len(call))
	lines := make(map[iot.ID]*ImportEntry, len(call))
	for i := range call {
		entries[i] = call[i].BulkEntry
		lines[call[i].ID()] = &call[i]
	}
	done, err := s.bulk(ctx, entries)
	if err != nil {
		return nil, err
	}
	for _, f := range append(done.Failed, done.Twinless...) {
		e := lines[f.ID]
		if e.Again && doneBefore(f) {
			continue
		}
		if f.Err.Code == iot.ServiceUnavailable || f.Err.Code == iot.ServerBusy {
			return nil, f.Err // all of it again
		}
		refused = append(refused, job.Refused{Line: e.Line, ID: f.ID, Operation: f.Mode.String(), Err: f.Err})
	}
	return refused, nil
}

// doneBefore reports a refusal that says no more than that an entry was done before.
func doneBefore(f registry.BulkError) bool {
	switch f.Mode {
	case registry.BulkCreate:
		return f.Err.Code == iot.DeviceAlreadyExists || f.Err.Code == iot.ModuleAlreadyExists
	case registry.BulkDelete:
		return f.Err.Code == iot.DeviceNotFound || f.Err.Code == iot.ModuleNotFound
	case registry.BulkDeleteIfMatch:
		return f.Err.Code == iot.DeviceNotFound || f.Err.Code == iot.ModuleNotFound || f.Err.Code == iot.PreconditionFailed
	case registry.BulkUpdateIfMatch, registry.BulkCreateOrUpdateIfMatch, registry.BulkUpdateTwinIfMatch:
		return f.Err.Code == iot.PreconditionFailed
	default:
	}
	return false
}

// ImportConfiguration makes a configuration, or changes the one of that id.
func (s *Service) ImportConfiguration(ctx context.Context, spec configuration.Spec) error {
	_, _, err := s.PutConfiguration(ctx, spec, configuration.Match{})
	if iot.CodeOf(err) == iot.ConfigurationAlreadyExists {
		_, _, err = s.PutConfiguration(ctx, spec, configuration.Match{Set: true})
	}
	return err
}
