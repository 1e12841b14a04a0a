package outbox

import "context"

// Release gives the turn to relay away, as if it had run out.
func Release(ctx context.Context, x *Box) error { return x.relay.seat.Release(ctx) }
