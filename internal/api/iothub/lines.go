package iothub

import (
	"context"
	"encoding/json"
	"strings"

	"dunlin/internal/hub"
	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
	"dunlin/internal/things/job"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
)

// ForTransfers gives the room of jobs what it needs of the hub to import and
// export: the lines of files have the form of this surface. worker gives the
// hub as its own jobs use it.
func ForTransfers(worker func() *hub.Service) job.Transfer {
	t := transfers(worker)
	return job.Transfer{
		Count: t.count, Export: t.export, Import: t.importLines,
		ExportConfigurations: t.exportConfigurations, ImportConfiguration: t.importConfiguration,
	}
}

type transfers func() *hub.Service

func (t transfers) count(ctx context.Context) (int64, error) {
	n, err := t().Count(ctx)
	return n.Total, err
}

func (t transfers) export(ctx context.Context, after string, n int, keys bool, dst []byte) (job.Exported, error) {
	p, err := t().Identities(ctx, after, n)
	if err != nil {
		return job.Exported{}, err
	}
	lines, err := appendLines(dst, &p, keys)
	return job.Exported{Lines: lines, Devices: len(p.Devices), Last: p.Last, More: p.More}, err
}

func (t transfers) importLines(ctx context.Context, lines []job.Line) ([]job.Refused, error) {
	entries := make([]hub.ImportEntry, len(lines))
	for i, l := range lines {
		entries[i] = hub.ImportEntry{BulkEntry: readLine(l.Text), Line: l.Number, Again: l.Again}
	}
	return t().ImportEntries(ctx, entries)
}

// allConfigurations is more than there can be.
const allConfigurations = 1 << 20

func (t transfers) exportConfigurations(ctx context.Context) ([][]byte, error) {
	list, err := t().Configurations(ctx, allConfigurations)
	if err != nil {
		return nil, err
	}
	lines := make([][]byte, len(list))
	for i := range list {
		if lines[i], err = configurationLine(&list[i]); err != nil {
			return nil, err
		}
	}
	return lines, nil
}

func (t transfers) importConfiguration(ctx context.Context, line []byte) error {
	spec, err := readConfigurationLine(line)
	if err != nil {
		return err
	}
	return t().ImportConfiguration(ctx, spec)
}

// entryOut is the beginning of a line of an export: an entry that a bulk call
// or an import takes, without its twin.
type entryOut struct {
	ID             string         `json:"id"`
	ModuleID       string         `json:"moduleId,omitempty"`
	ETag           string         `json:"eTag"`
	ManagedBy      *string        `json:"managedBy,omitempty"`
	Status         string         `json:"status,omitempty"`
	StatusReason   *string        `json:"statusReason,omitempty"`
	Authentication authentication `json:"authentication"`
	TwinETag       string         `json:"twinETag"`
	Capabilities   *capabilities  `json:"capabilities,omitempty"`
	DeviceScope    string         `json:"deviceScope,omitempty"`
	ParentScopes   []string       `json:"parentScopes,omitempty"`
}

// appendLines writes a line for each device of a page, and behind it for each
// of its modules. keys says whether their keys are written.
func appendLines(dst []byte, p *hub.Page, keys bool) ([]byte, error) {
	var err error
	for i := range p.Devices {
		d := &p.Devices[i]
		doc := p.Twins[iot.ID{Device: d.ID}]
		head := entryOut{
			ID: d.ID, ETag: d.ETag, Status: d.Status.String(), StatusReason: d.StatusReason, Authentication: secretsOut(&d.Secrets),
			Capabilities: &capabilities{d.Edge}, DeviceScope: d.Scope, ParentScopes: d.ParentScopes,
		}
		if dst, err = appendLine(dst, &head, &doc, keys); err != nil {
			return dst, err
		}
		for j := range p.Modules[d.ID] {
			m := &p.Modules[d.ID][j]
			doc := p.Twins[m.ID]
			head := entryOut{ID: d.ID, ModuleID: m.ID.Module, ETag: m.ETag, ManagedBy: optional(m.ManagedBy), Authentication: secretsOut(&m.Secrets)}
			if dst, err = appendLine(dst, &head, &doc, keys); err != nil {
				return dst, err
			}
		}
	}
	return dst, nil
}

func appendLine(dst []byte, head *entryOut, doc *twin.Doc, keys bool) ([]byte, error) {
	if !keys {
		head.Authentication.SymmetricKey = symmetricKey{}
	}
	head.TwinETag = doc.ETag()
	b, err := json.Marshal(head)
	if err != nil {
		return dst, err
	}
	dst = append(dst, b[:len(b)-1]...)
	dst = append(append(dst, `,"tags":`...), doc.Tags()...)
	dst = append(dst, `,"properties":`...)
	if dst, err = doc.AppendProperties(dst); err != nil {
		return dst, err
	}
	return append(dst, '}', '\n'), nil
}

// readLine reads a line of an import. What is wrong with it is in the entry;
// without an importMode the identity is made, or changed when it is there.
func readLine(text []byte) hub.BulkEntry {
	var in bulkEntry
	if err := json.Unmarshal(text, &in); err != nil {
		return hub.BulkEntry{BulkEntry: registry.BulkEntry{
			Mode: registry.BulkCreateOrUpdate, Device: registry.DeviceSpec{ID: in.ID}, Module: registry.ModuleSpec{ID: iot.ID{Device: in.ID, Module: in.ModuleID}},
			Err: iot.Errorf(iot.DeserializationError, "the line is not an entry: %w", err),
		}}
	}
	if in.ImportMode == "" {
		in.ImportMode = registry.BulkCreateOrUpdate.String()
	}
	e := in.entry()
	if own := in.DeviceScope; own != nil && e.Device.Edge != nil && *e.Device.Edge && strings.HasPrefix(*own, "ms-azure-iot-edge://"+in.ID+"-") {
		// That of the device as it was exported. It is made anew with the
		// device, and cannot be given.
		e.Device.Scope = nil
	}
	return e
}

// configurationLine writes a configuration as a line of an export.
func configurationLine(c *configuration.Configuration) ([]byte, error) {
	return json.Marshal(configurationOut(c))
}

// readConfigurationLine reads it in an import.
func readConfigurationLine(text []byte) (configuration.Spec, error) {
	var in configurationIn
	if err := json.Unmarshal(text, &in); err != nil {
		return configuration.Spec{}, iot.Errorf(iot.DeserializationError, "the line is not a configuration: %w", err)
	}
	if in.ID == nil {
		return configuration.Spec{}, iot.Errorf(iot.ArgumentNull, "the line has no id")
	}
	return in.spec(*in.ID)
}
