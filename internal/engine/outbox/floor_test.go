package outbox

import (
	"testing"
	"time"
)

// TestFloor: what may still turn up below deleted rows is found in time.
func TestFloor(t *testing.T) {
	f := floor{use: true}
	now := time.Unix(1000, 0)
	if at := f.at(now); at != 0 {
		t.Errorf("the first look begins at %d", at)
	}
	f.deleted(50)
	for range 2 {
		if at := f.at(now.Add(floorEvery - 1)); at != 0 {
			t.Errorf("rows below %d are passed over while their transactions may be open", at)
		}
	}
	now = now.Add(floorEvery)
	if at := f.at(now); at != 0 {
		t.Errorf("the look at everything begins at %d", at)
	}
	f.deleted(70)
	f.deleted(60)
	if at := f.at(now); at != 0 {
		t.Errorf("rows below %d are passed over %v after the deletion", at, floorEvery)
	}
	now = now.Add(floorEvery)
	f.at(now)
	if at := f.at(now); at != 50 {
		t.Errorf("the search begins at %d, want 50", at)
	}
	now = now.Add(floorEvery)
	f.at(now)
	if at := f.at(now); at != 70 {
		t.Errorf("the search begins at %d, want 70", at)
	}
	var off floor
	off.deleted(9)
	if at := off.at(now); at != 0 {
		t.Errorf("a floor that is not used is %d", at)
	}
}
