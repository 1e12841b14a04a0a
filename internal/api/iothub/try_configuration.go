package iothub

import "net/http"

// testConfiguration answers POST /configurations/testQueries: what is wrong
// with a target condition and with metrics. That something is wrong is no error
// of the call.
func testConfiguration(c *call) error {
	var in struct {
		TargetCondition     string            `json:"targetCondition"`
		CustomMetricQueries map[string]string `json:"customMetricQueries"`
	}
	if err := c.decode(maxConfiguration, &in); err != nil {
		return err
	}
	target, queries, err := c.hub.TestConfiguration(c.r.Context(), in.TargetCondition, in.CustomMetricQueries)
	if err != nil {
		return err
	}
	out := struct {
		TargetConditionError    *string           `json:"targetConditionError"`
		CustomMetricQueryErrors map[string]string `json:"customMetricQueryErrors"`
	}{CustomMetricQueryErrors: queries}
	if target != "" {
		out.TargetConditionError = &target
	}
	return c.reply(http.StatusOK, out)
}
