package iothub

import "dunlin/internal/trust/access"

// Row is an operation of the tables, for tests that go through all of them.
type Row struct {
	Method, Path string
	Need         access.Permission
	Missing      bool
}

// Rows lists all operations, of applications and of devices.
func Rows() []Row {
	var list []Row
	for i, table := range [...][]operation{operations[:], deviceOperations[:], missing[:]} {
		for _, op := range table {
			list = append(list, Row{op.method, op.path, op.need, i == 2})
		}
	}
	return list
}
