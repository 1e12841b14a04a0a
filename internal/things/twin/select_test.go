package twin_test

import (
	"fmt"
	"slices"
	"testing"

	"dunlin/internal/engine/state"
	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/lang/twinql"
	"dunlin/internal/things/twin"
)

// selected walks a selection from page to page.
func (f *fleet) selected(text string, size int, between func(page int)) (ids []string) {
	f.tb.Helper()
	target, err := twinql.ParseTarget(text)
	if err != nil {
		f.tb.Fatal(err)
	}
	var after iot.ID
	for page := 1; ; page++ {
		keys, last, more, err := f.rooms.Select(f.tb.Context(), &target, after, size)
		if err != nil || len(keys) > size || page > 1000 {
			f.tb.Fatal(text, len(keys), err)
		}
		for _, k := range keys {
			if k.Generation != 1 {
				f.tb.Errorf("%s has the generation %d", k.ID, k.Generation)
			}
			ids = append(ids, k.ID.String())
		}
		if !more {
			return ids
		}
		after = last
		if between != nil {
			between(page)
		}
	}
}

func TestSelect(t *testing.T) {
	statetest.Each(t, func(t *testing.T, db state.DB) {
		f := newFleet(t, db)
		for n := range 40 {
			id := fmt.Sprintf("d%02d", n)
			f.device(&twin.Identity{ID: iot.ID{Device: id}, AuthType: "sas", Disabled: n%10 == 0})
			if n%2 == 0 {
				f.twin(iot.ID{Device: id}, fmt.Sprintf(`{"tags":{"n":%d,"a":"x%d"}}`, n, n%4), "")
			}
			if n%4 == 0 {
				f.device(&twin.Identity{ID: iot.ID{Device: id, Module: "m"}, AuthType: "sas"})
				f.device(&twin.Identity{ID: iot.ID{Device: id, Module: "n"}, AuthType: "sas"})
			}
		}
		ids := func(step, most int, tail string) (list []string) {
			for n := 0; n < most; n += step {
				list = append(list, fmt.Sprintf("d%02d%s", n, tail))
			}
			return list
		}
		for text, want := range map[string][]string{
			"*":                          ids(1, 40, ""),
			"tags.a = 'x0'":              ids(4, 40, ""),
			"tags.n + 0 < 20":            ids(2, 20, ""), // evaluated here, not in SQL
			"status = 'disabled'":        ids(10, 40, ""),
			"deviceId IN ['d07', 'd39']": {"d07", "d39"},
			"tags.a = 'none'":            nil,
			"FROM devices.modules WHERE moduleId = 'n'": ids(4, 40, "/n"),
		} {
			for _, size := range []int{1, 3, 7, 1000} {
				if got := f.selected(text, size, nil); !slices.Equal(got, want) {
					t.Errorf("%s by %d: %v, want %v", text, size, got, want)
				}
			}
		}
		// What the walk changes must not make it meet anything twice or miss it.
		got := f.selected("tags.a = 'x0'", 2, func(page int) {
			f.twin(iot.ID{Device: fmt.Sprintf("d%02d", (page-1)*8)}, `{"tags":{"a":"gone"}}`, "")
		})
		if !slices.Equal(got, ids(4, 40, "")) {
			t.Errorf("while it is changed: %v", got)
		}
	})
}
