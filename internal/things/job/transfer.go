package job

import (
	"context"

	"dunlin/internal/iot"
)

// Transfer is what import and export need.
type Transfer struct{}

func (r *Room) transfer(context.Context, *open) error {
	return iot.Errorf(iot.OperationNotAvailable, "not here yet")
}
