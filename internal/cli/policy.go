package cli

type policyCmd struct {
	List policyListCmd `cmd:"" help:"List the policies with their connection strings."`
}

type policyListCmd struct{}

// Run prints the policies.
func (*policyListCmd) Run(s *session) error {
	i, err := s.waitInfo(s.ctx, 0)
	if err != nil {
		return err
	}
	if s.JSON {
		return s.printJSON(i.Hub.ConnectionStrings)
	}
	var rows [][]string
	for _, name := range policyNames(i) {
		rows = append(rows, []string{name, i.Hub.ConnectionStrings[name]})
	}
	return table(s.out, []string{"POLICY", "CONNECTION STRING"}, rows)
}
