package registry

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"strings"

	"dunlin/internal/engine/state"
	"dunlin/internal/iot"
)

const (
	scopePrefix = "ms-azure-iot-edge://"
	maxNesting  = 32 // edge devices above an edge device; a longer way is taken for a ring
)

// edgeScope is the scope that an edge device gives to those behind it.
func edgeScope(id string, generation uint64) string {
	return scopePrefix + id + "-" + strconv.FormatUint(generation, 10)
}

// place applies and checks the scopes of the spec. An edge device owns its
// scope and names a parent; another device is in the scope of its parent.
func (d *Device) place(ctx context.Context, tx state.Tx, spec DeviceSpec) error {
	if d.Edge {
		if spec.Scope != nil && *spec.Scope != "" && *spec.Scope != d.Scope {
			return iot.Errorf(iot.InvalidDeviceScope, "the deviceScope of an edge device is given by the hub and cannot be changed: leave it out, and name a parent in parentScopes")
		}
		if spec.ParentScopes == nil {
			return nil
		}
		d.ParentScopes = compact(*spec.ParentScopes)
		return d.checkParent(ctx, tx)
	}
	if spec.Scope == nil && spec.ParentScopes == nil {
		return nil
	}
	var parents []string
	if spec.ParentScopes != nil {
		parents = compact(*spec.ParentScopes)
	}
	if spec.Scope != nil && *spec.Scope != "" {
		if len(parents) > 0 && parents[0] != *spec.Scope {
			return iot.Errorf(iot.InvalidDeviceScope, "deviceScope and parentScopes name different edge devices")
		}
		parents = []string{*spec.Scope}
	}
	d.Scope, d.ParentScopes = "", parents
	if len(parents) > 0 {
		d.Scope = parents[0]
		_, err := parentOf(ctx, tx, d.Scope)
		return err
	}
	return nil
}

func compact(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
}

// checkParent follows the way up: it must exist and not come back.
func (d *Device) checkParent(ctx context.Context, tx state.Tx) error {
	if len(d.ParentScopes) == 0 {
		return nil
	}
	up := d.ParentScopes[0]
	for range maxNesting {
		if up == d.Scope {
			return iot.Errorf(iot.InvalidDeviceScope, "an edge device cannot be below itself")
		}
		next, err := parentOf(ctx, tx, up)
		if err != nil {
			return err
		}
		if up = next; up == "" {
			return nil
		}
	}
	return iot.Errorf(iot.InvalidDeviceScope, "there are more than %d edge devices above this one", maxNesting)
}

// parentOf checks that a scope is one of an edge device that is there, and
// answers the scope above it.
func parentOf(ctx context.Context, tx state.Tx, scope string) (string, error) {
	unknown := iot.Errorf(iot.InvalidDeviceScope, "the scope '%.200s' is not that of an edge device of this hub", scope)
	rest, ok := strings.CutPrefix(scope, scopePrefix)
	dash := strings.LastIndexByte(rest, '-')
	if !ok || dash <= 0 {
		return "", unknown
	}
	var own, parents string
	err := tx.QueryRow(ctx, "SELECT scope, parents FROM device WHERE id = ? AND edge = 1", rest[:dash]).Scan(&own, &parents)
	if errors.Is(err, sql.ErrNoRows) || (err == nil && own != scope) {
		return "", unknown
	}
	return parents, err
}
