package hub_test

import (
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dunlin/internal/engine/state/statetest"
	"dunlin/internal/iot"
	"dunlin/internal/things/configuration"
)

// TestConfigurationsComeToRest sets values of every form and shows that the
// twin is written once: what it keeps of a value is taken for that value.
func TestConfigurationsComeToRest(t *testing.T) {
	c := openConfigured(t, statetest.SQLite(t))
	id := iot.ID{Device: "d"}
	c.device("d", "")
	numbers := rapid.SampledFrom([]string{"0", "-0", "1.0", "1e5", "1E+2", "0.1e-7", "123456789.123456789123456789", "-4503599627370496", "true", "null", `"\u0041"`, `"\ud83d\ude00"`, `"\u2028 \/ \b"`, `"<&>"`, `""`, "[]", "[null,{}]", "{}"})
	texts := rapid.Custom(func(t *rapid.T) string {
		b, err := json.Marshal(rapid.StringN(0, 20, 100).Draw(t, "text"))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	})
	values := rapid.OneOf(numbers, texts)
	settled := func() int64 {
		var last int64
		for same := 0; same < 5; time.Sleep(5 * time.Millisecond) {
			d, err := c.twins.Get(t.Context(), c.key(id))
			if err != nil {
				t.Fatal(err)
			}
			same++
			if v := d.DesiredVersion(); v != last {
				last, same = v, 0
			}
		}
		return last
	}
	rapid.Check(t, func(rt *rapid.T) {
		v := values.Draw(rt, "value")
		content := `{"deviceContent":{"properties.desired.a":` + v + `,"properties.desired.b":{"c":[` + values.Draw(rt, "in an array") + `],"d":` + values.Draw(rt, "in an object") + `}}}`
		before := settled()
		_, _, err := c.room.Put(t.Context(), configuration.Spec{ID: "c", Target: "*", Content: json.RawMessage(content)}, configuration.Match{})
		if iot.CodeOf(err) == iot.InvalidConfigurationContent {
			return // no twin can have it
		}
		if err != nil {
			rt.Fatal(err)
		}
		becomes(t, `[{"s":"Applied"}]`, func() string { return c.query("SELECT configurations.c.status AS s FROM devices") })
		if after := settled(); after != before+1 {
			rt.Errorf("%s was written %d times", content, after-before)
		}
		c.drop("c")
		becomes(t, "0", func() string { return c.count("configuration") })
	})
}
