package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type configurationCmd struct {
	List    configurationListCmd    `cmd:"" help:"List automatic configurations."`
	Show    configurationShowCmd    `cmd:"" help:"Show one, with its metrics."`
	Create  configurationCreateCmd  `cmd:"" help:"Make one: desired properties for all devices that meet a condition."`
	Update  configurationUpdateCmd  `cmd:"" help:"Change its condition, priority, labels or metrics."`
	Delete  configurationDeleteCmd  `cmd:"" help:"Delete one, and take back what it has set."`
	Test    configurationTestCmd    `cmd:"" help:"Check a condition and metrics before they are used."`
	Targets configurationTargetsCmd `cmd:"" help:"List the devices that one is for, and whether it is applied."`
	Apply   configurationApplyCmd   `cmd:"" help:"Set content in one device and its modules, once."`
}

func configurationPath(id string) string { return "/configurations/" + url.PathEscape(id) }

// configuration is one as the hub answers it.
type configuration struct {
	ID            string               `json:"id"`
	SchemaVersion string               `json:"schemaVersion"`
	Labels        map[string]string    `json:"labels"`
	Content       json.RawMessage      `json:"content"`
	Target        string               `json:"targetCondition"`
	Created       string               `json:"createdTimeUtc"`
	Updated       string               `json:"lastUpdatedTimeUtc"`
	Priority      int64                `json:"priority"`
	System        configurationMetrics `json:"systemMetrics"`
	Metrics       configurationMetrics `json:"metrics"`
	ETag          string               `json:"etag"`
}

type configurationMetrics struct {
	Results map[string]int64  `json:"results,omitempty"`
	Queries map[string]string `json:"queries"`
}

// configurationError says what to do about a refusal.
func configurationError(err error, id string) error {
	switch {
	case hasCode(err, "ConfigurationNotFound"):
		return fmt.Errorf("%w; see: dunlin configuration list", err)
	case hasCode(err, "ConfigurationAlreadyExists"):
		return fmt.Errorf("%w; change it with dunlin configuration update %s", err, id)
	case hasCode(err, "PreconditionFailed"):
		return fmt.Errorf("%w; see it with dunlin configuration show %s", err, id)
	case hasCode(err, "InvalidConfigurationTargetCondition"), hasCode(err, "InvalidConfigurationCustomMetricsQuery"):
		return fmt.Errorf("%w; try it first with dunlin configuration test", err)
	}
	return notFound(err)
}

type configurationListCmd struct {
	Top int `name:"top" default:"1000" placeholder:"N" help:"End after so many (${default})."`
}

// Run lists configurations.
func (c *configurationListCmd) Run(s *session) error {
	if c.Top < 1 {
		return usagef("--top: a number from 1, not %d", c.Top)
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodGet, "/configurations?top="+strconv.Itoa(c.Top), nil, nil, &raw); err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	var list []configuration
	if err := json.Unmarshal(raw, &list); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	if len(list) == 0 {
		s.printf("There are no configurations. Make one with: dunlin configuration create\n")
		return nil
	}
	rows := make([][]string, len(list))
	for i := range list {
		l := &list[i]
		rows[i] = []string{
			l.ID, strconv.FormatInt(l.Priority, 10), strconv.FormatInt(l.System.Results["targetedCount"], 10), strconv.FormatInt(l.System.Results["appliedCount"], 10),
			ago(parseTime(l.Updated), time.Now()), shorten(printable(targetText(l.Target))),
		}
	}
	return table(s.out, []string{"CONFIGURATION", "PRIORITY", "TARGETED", "APPLIED", "CHANGED", "FOR"}, rows)
}

func targetText(target string) string {
	switch strings.TrimSpace(target) {
	case "":
		return "nothing"
	case "*":
		return "everything"
	}
	return target
}

type configurationShowCmd struct {
	ID string `arg:"" help:"Id of the configuration."`
}

// Run prints one configuration.
func (c *configurationShowCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodGet, configurationPath(c.ID), nil, nil, &raw); err != nil {
		return configurationError(err, c.ID)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	var conf configuration
	if err := json.Unmarshal(raw, &conf); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	now := time.Now()
	labels := make([]string, 0, len(conf.Labels))
	for _, name := range slices.Sorted(maps.Keys(conf.Labels)) {
		labels = append(labels, name+"="+conf.Labels[name])
	}
	err = pairs(s.out, [][2]string{
		{"configuration", conf.ID},
		{"for", printable(targetText(conf.Target))},
		{"priority", strconv.FormatInt(conf.Priority, 10)},
		{"labels", printable(strings.Join(labels, ", "))},
		{"created", ago(parseTime(conf.Created), now)},
		{"changed", ago(parseTime(conf.Updated), now)},
		{"etag", conf.ETag},
		{"content", printable(string(conf.Content))},
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, m := range [...]configurationMetrics{conf.System, conf.Metrics} {
		for _, name := range slices.Sorted(maps.Keys(m.Queries)) {
			value := "?"
			if n, ok := m.Results[name]; ok {
				value = strconv.FormatInt(n, 10)
			}
			rows = append(rows, []string{printable(name), value, shorten(printable(m.Queries[name]))})
		}
	}
	s.printf("\n")
	return table(s.out, []string{"METRIC", "VALUE", "QUERY"}, rows)
}

// configurationBody is what create and update have in common.
type configurationBody struct {
	File     string            `name:"file" placeholder:"FILE" help:"Read the configuration, or only its content, from this file, JSON; - is standard input."`
	Target   *string           `name:"target" placeholder:"CONDITION" help:"What it is for: * for all, or a condition such as \"tags.site = 'north'\"; for modules \"FROM devices.modules WHERE ...\". Nothing when left out."`
	Priority *int64            `name:"priority" placeholder:"N" help:"The higher one wins where two set the same (0)."`
	Label    map[string]string `name:"label" mapsep:"none" placeholder:"NAME=VALUE" help:"A label. May be repeated."`
	Metric   map[string]string `name:"metric" mapsep:"none" placeholder:"NAME=QUERY" help:"A metric: the number of rows of a query. May be repeated."`
}

// fill puts the flags over a document.
func (b *configurationBody) fill(doc map[string]any) {
	if b.Target != nil {
		doc["targetCondition"] = *b.Target
	}
	if b.Priority != nil {
		doc["priority"] = *b.Priority
	}
	if b.Label != nil {
		doc["labels"] = b.Label
	}
	if b.Metric != nil {
		doc["metrics"] = configurationMetrics{Queries: b.Metric}
	}
}

// read gives the document of a file, whose content may be all that it has.
func (b *configurationBody) read(s *session) (map[string]any, error) {
	doc := map[string]any{}
	if b.File == "" {
		return doc, nil
	}
	text, err := s.readFile(b.File)
	if err != nil {
		return nil, err
	}
	if err := decode(text, &doc); err != nil || doc == nil {
		return nil, fmt.Errorf("%s is not a JSON object: %w", b.File, err)
	}
	for _, name := range [...]string{"deviceContent", "moduleContent", "modulesContent"} {
		if _, ok := doc[name]; ok {
			return map[string]any{"content": doc}, nil
		}
	}
	return doc, nil
}

// send writes a configuration and prints what it is then.
func (s *session) sendConfiguration(cl *client, id, match string, doc map[string]any, done string) error {
	doc["id"] = id
	var header map[string]string
	if match != "" {
		header = map[string]string{"If-Match": match}
	}
	var raw json.RawMessage
	if err := cl.hub(s.ctx, http.MethodPut, configurationPath(id), header, doc, &raw); err != nil {
		return configurationError(err, id)
	}
	if s.JSON {
		return s.printJSON(raw)
	}
	s.printf("%s %s; devices follow. See: dunlin configuration targets %s\n", id, done, id)
	return nil
}

type configurationCreateCmd struct {
	ID string `arg:"" help:"Id of the configuration."`
	configurationBody
	Set []string `name:"set" sep:"none" placeholder:"PATH=VALUE" help:"Set a desired property of devices, such as fan.speed=3. VALUE is JSON, else text. May be repeated."`
}

// Run makes a configuration.
func (c *configurationCreateCmd) Run(s *session) error {
	doc, err := c.read(s)
	if err != nil {
		return err
	}
	c.fill(doc)
	if len(c.Set) > 0 {
		if doc["content"] != nil {
			return usagef("give the content either with --set or with --file")
		}
		section := map[string]any{}
		for _, text := range c.Set {
			path, value, ok := strings.Cut(text, "=")
			if !ok {
				return usagef("--set %s: write PATH=VALUE, such as interval=5", text)
			}
			var v any
			if err := decode([]byte(value), &v); err != nil {
				v = value
			}
			section["properties.desired."+strings.TrimPrefix(strings.TrimPrefix(path, "properties."), "desired.")] = v
		}
		doc["content"] = map[string]any{"deviceContent": section}
	}
	if doc["content"] == nil {
		return usagef("what is it to set? Give --set PATH=VALUE, or --file with a content")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	return s.sendConfiguration(cl, c.ID, "", doc, "made")
}

type configurationUpdateCmd struct {
	ID string `arg:"" help:"Id of the configuration."`
	configurationBody
	ETag string `name:"etag" placeholder:"ETAG" help:"Only if it still has this etag."`
}

// Run changes what is given, and leaves the rest.
func (c *configurationUpdateCmd) Run(s *session) error {
	given, err := c.read(s)
	if err != nil {
		return err
	}
	c.fill(given)
	if len(given) == 0 {
		return usagef("nothing to change: give --target, --priority, --label, --metric or --file")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := cl.hub(s.ctx, http.MethodGet, configurationPath(c.ID), nil, nil, &doc); err != nil {
		return configurationError(err, c.ID)
	}
	match, _ := doc["etag"].(string) // of what was read: nobody else's change gets lost
	if c.ETag != "" {
		match = strings.Trim(c.ETag, `"`)
	}
	maps.Copy(doc, given)
	if _, ok := given["content"]; !ok {
		delete(doc, "content") // it stays as it is
	}
	return s.sendConfiguration(cl, c.ID, `"`+match+`"`, doc, "changed")
}

type configurationDeleteCmd struct {
	ID   string `arg:"" help:"Id of the configuration."`
	ETag string `name:"etag" placeholder:"ETAG" help:"Only if it still has this etag."`
}

// Run deletes a configuration.
func (c *configurationDeleteCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var header map[string]string
	if c.ETag != "" {
		header = map[string]string{"If-Match": `"` + strings.Trim(c.ETag, `"`) + `"`}
	}
	if err := cl.hub(s.ctx, http.MethodDelete, configurationPath(c.ID), header, nil, nil); err != nil {
		return configurationError(err, c.ID)
	}
	if s.JSON {
		return s.printJSON(map[string]string{"id": c.ID, "outcome": "deleted"})
	}
	s.printf("%s deleted; what it has set is taken back.\n", c.ID)
	return nil
}

type configurationTestCmd struct {
	Target string            `name:"target" placeholder:"CONDITION" help:"A target condition."`
	Metric map[string]string `name:"metric" mapsep:"none" placeholder:"NAME=QUERY" help:"A metric. May be repeated."`
}

// Run checks a condition and metrics.
func (c *configurationTestCmd) Run(s *session) error {
	if c.Target == "" && len(c.Metric) == 0 {
		return usagef("what is to be checked? Give --target or --metric")
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var raw json.RawMessage
	err = cl.hub(s.ctx, http.MethodPost, "/configurations/testQueries", nil, map[string]any{"targetCondition": c.Target, "customMetricQueries": c.Metric}, &raw)
	if err != nil {
		return err
	}
	var out struct {
		Target  *string           `json:"targetConditionError"`
		Metrics map[string]string `json:"customMetricQueryErrors"`
	}
	if err := json.Unmarshal(raw, &out); err != nil {
		return fmt.Errorf("the answer of the instance cannot be read: %w", err)
	}
	if s.JSON {
		if err := s.printJSON(raw); err != nil {
			return err
		}
	} else {
		if out.Target != nil {
			s.printf("%s\n", printable(*out.Target))
		}
		for _, name := range slices.Sorted(maps.Keys(out.Metrics)) {
			s.printf("%s\n", printable(out.Metrics[name]))
		}
		if out.Target == nil && len(out.Metrics) == 0 {
			s.printf("Nothing is wrong.\n")
		}
	}
	if out.Target != nil || len(out.Metrics) > 0 {
		return &silentError{}
	}
	return nil
}

type configurationTargetsCmd struct {
	ID  string `arg:"" help:"Id of the configuration."`
	Top int    `name:"top" default:"100" placeholder:"N" help:"End after so many (${default}); 0 is no end."`
}

// Run lists what a configuration is for: a query, as any application can make
// it.
func (c *configurationTargetsCmd) Run(s *session) error {
	cl, err := s.connect()
	if err != nil {
		return err
	}
	var conf configuration
	if err := cl.hub(s.ctx, http.MethodGet, configurationPath(c.ID), nil, nil, &conf); err != nil {
		return configurationError(err, c.ID)
	}
	columns, from := "deviceId", "devices"
	if strings.Contains(string(conf.Content), `"moduleContent"`) {
		columns, from = "deviceId, moduleId", "devices.modules"
	}
	status := "configurations.[[" + c.ID + "]].status"
	q := queryCmd{
		Text: "SELECT " + columns + ", " + status + " AS status FROM " + from + " WHERE " + status + " IN ['Targeted', 'Applied']",
		Top:  c.Top,
	}
	return q.Run(s)
}

type configurationApplyCmd struct {
	ID   string `arg:"" help:"Id of the device."`
	File string `arg:"" help:"File with the content, JSON with deviceContent or modulesContent; - is standard input."`
}

// Run applies content to one device.
func (c *configurationApplyCmd) Run(s *session) error {
	if err := checkID(c.ID); err != nil {
		return err
	}
	text, err := s.readFile(c.File)
	if err != nil {
		return err
	}
	var doc map[string]any
	if err := decode(text, &doc); err != nil {
		return fmt.Errorf("%s is not a JSON object: %w", c.File, err)
	}
	if content, ok := doc["content"].(map[string]any); ok {
		doc = content
	}
	cl, err := s.connect()
	if err != nil {
		return err
	}
	if err := cl.hub(s.ctx, http.MethodPost, "/devices/"+url.PathEscape(c.ID)+"/applyConfigurationContent", nil, doc, nil); err != nil {
		return notFound(err)
	}
	if s.JSON {
		return s.printJSON(map[string]string{"deviceId": c.ID, "outcome": "applied"})
	}
	s.printf("%s has what %s says. See: dunlin twin show %s\n", c.ID, c.File, c.ID)
	return nil
}
