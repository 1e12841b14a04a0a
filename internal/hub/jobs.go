package hub

import (
	"context"

	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/command"
	"dunlin/internal/things/job"
	"dunlin/internal/things/registry"
	"dunlin/internal/things/twin"
	"dunlin/internal/trust/quota"
)

// Tools are the rooms that work for others of their floor, which do not know
// them.
type Tools struct {
	Registry *registry.Registry
	Twins    *twin.Room
	Commands *command.Room
	Quota    *quota.Limiter // nil limits nothing
}

// ForJobs gives what the room of jobs needs of other rooms. Who may have a job
// done was asked when it came in.
func (t Tools) ForJobs() job.Deps {
	return job.Deps{
		Find: t.find, Exists: t.exists,
		Change: t.change, CheckChange: func(c job.Change) error { return t.Twins.Check(iot.ID{}, c.Body) },
		Call: t.call, CheckCall: func(c job.Call) error { return t.Commands.Check(asCall(c)) },
	}
}

func (t Tools) find(ctx context.Context, target *twinql.Target, after iot.ID, n int) (found []job.Target, last iot.ID, more bool, err error) {
	keys, last, more, err := t.Twins.Select(ctx, target, after, n)
	found = make([]job.Target, len(keys))
	for i, k := range keys {
		found[i] = job.Target{ID: k.ID, Generation: k.Generation}
	}
	return found, last, more, err
}

// standing reads an identity that a job was for when it began.
func (t Tools) standing(ctx context.Context, target job.Target) (registry.Standing, error) {
	have, err := t.Registry.Standing(ctx, target.ID)
	if err == nil && have.Generation != target.Generation {
		err = iot.Errorf(iot.DeviceNotFound, "The device or module %s was deleted and made again since the job began.", target.ID)
	}
	return have, err
}

func (t Tools) exists(ctx context.Context, target job.Target) error {
	_, err := t.standing(ctx, target)
	return err
}

func (t Tools) change(ctx context.Context, target job.Target, c job.Change) error {
	if err := t.Quota.Await(ctx, quota.JobDevices, 1); err != nil {
		return err
	}
	if _, err := t.standing(ctx, target); err != nil {
		return err
	}
	_, err := t.Twins.Patch(ctx, twin.Key{ID: target.ID, Generation: target.Generation}, c.Body, c.ETag)
	return err
}

func asCall(c job.Call) command.Call {
	return command.Call{Method: c.Method, Payload: c.Payload, Response: c.Response}
}

func (t Tools) call(ctx context.Context, target job.Target, c job.Call) (status int, payload []byte, err error) {
	have, err := t.standing(ctx, target)
	if err != nil {
		return 0, nil, err
	}
	if have.Status == registry.Disabled {
		return 0, nil, iot.Errorf(iot.DeviceNotFound, "The requested device %s is disabled, enable it to call its methods.", target.ID.Device)
	}
	if err := t.Quota.Await(ctx, quota.JobDevices, 1); err != nil {
		return 0, nil, err
	}
	res, err := t.Commands.Invoke(ctx, target.ID, asCall(c))
	return res.Status, res.Payload, err
}
