package configuration

import (
	"context"

	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
)

// applyTries bounds how often content is applied anew because somebody else
// was faster.
const applyTries = 5

// Apply sets what content says in one device and its modules, once and at
// once. Modules that the edge agent is to run are made.
func (r *Room) Apply(ctx context.Context, device string, raw []byte) error {
	if _, busy := r.applying.LoadOrStore(device, true); busy {
		return iot.Errorf(iot.ConfigurationBeingApplied, "content is being applied to the device %s already: try again when that is done", device)
	}
	defer r.applying.Delete(device)

	f := &family{device: device, modules: map[string]*Document{}}
	read := func() error {
		return r.twins.Documents(ctx, twinql.Devices, []string{device}, func(d Document) error { f.doc = &d; return nil })
	}
	readModules := func() error {
		return r.twins.Documents(ctx, twinql.Modules, []string{device}, func(d Document) error { f.modules[d.ID.Module] = &d; return nil })
	}
	if err := read(); err != nil {
		return err
	}
	if f.doc == nil {
		return iot.Errorf(iot.DeviceNotFound, "The requested device %s was not found.", device)
	}
	content, err := r.applicable(raw)
	if err != nil {
		return err
	}
	if err := readModules(); err != nil {
		return err
	}
	overlays := map[string]*overlay{}
	for i := range content {
		c := &content[i]
		for _, id := range append(c.modules(), "") {
			if pieces := (&active{content: *c}).piecesOf(id); len(pieces) > 0 && (id != "" || c.kind == Devices) {
				overlays[id] = lay([]part{{pieces: pieces}})
			}
		}
	}
	if o := overlays[edgeAgent]; o != nil {
		if !f.doc.Edge {
			return badContent("the device %s is no edge device: it has no $edgeAgent", device)
		}
		for _, id := range f.listed(o) {
			if err := r.twins.AddModule(ctx, iot.ID{Device: device, Module: id}); err != nil {
				return err
			}
		}
		if err := readModules(); err != nil {
			return err
		}
	}
	for id := range overlays {
		if f.twin(id) == nil {
			return iot.Errorf(iot.ModuleNotFound, "The requested module %s of device %s was not found.", id, device)
		}
	}
	for id, o := range overlays {
		if err := r.applyOne(ctx, f.twin(id), o); err != nil {
			return err
		}
	}
	return nil
}

// applicable reads content that may have deviceContent and modulesContent at
// once.
func (r *Room) applicable(raw []byte) ([]content, error) {
	if len(raw) > maxText {
		return nil, badContent("the content has %d bytes, at most %d are allowed", len(raw), maxText)
	}
	v, err := parse(string(raw))
	if err != nil {
		return nil, badContent("the content is not valid JSON: %w", err)
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil, badContent("the content must be an object with deviceContent or modulesContent")
	}
	if m, ok := object[Modules.String()].(map[string]any); ok && len(m) > 0 {
		return nil, badContent("moduleContent cannot be applied to a device: name the modules in modulesContent")
	}
	var out []content
	for _, kind := range [...]Kind{Devices, Edge} {
		section := object[kind.String()]
		if m, ok := section.(map[string]any); section == nil || (ok && len(m) == 0) {
			continue
		}
		b, err := text(map[string]any{kind.String(): section})
		if err != nil {
			return nil, err
		}
		c, err := readContent(string(b), r.twins.Check)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if out == nil {
		return nil, badContent("the content is empty: it needs deviceContent or modulesContent")
	}
	return out, nil
}

func (r *Room) applyOne(ctx context.Context, d *Document, o *overlay) error {
	for try := 1; ; try++ {
		have, err := parse(d.Desired)
		if err != nil {
			return err
		}
		was, _ := have.(map[string]any)
		change := difference(was, o.over(was, nil))
		if len(change) == 0 {
			return nil
		}
		body, err := text(map[string]any{"properties": map[string]any{"desired": change}})
		if err != nil {
			return err
		}
		_, _, err = r.twins.Patch(ctx, d.ID, d.Generation, body, d.ETag)
		if iot.CodeOf(err) != iot.PreconditionFailed || try == applyTries {
			return err
		}
		from, id := twinql.Devices, d.ID
		if id.IsModule() {
			from = twinql.Modules
		}
		err = r.twins.Documents(ctx, from, []string{id.Device}, func(now Document) error {
			if now.ID == id {
				d = &now
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
}
