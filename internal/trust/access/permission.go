package access

import (
	"strings"

	"dunlin/internal/iot"
)

// Permission is a set of the four permissions that a policy can grant.
type Permission uint8

// The permissions, as the service names them.
const (
	RegistryRead Permission = 1 << iota
	RegistryWrite
	ServiceConnect
	DeviceConnect
)

// All holds every permission.
const All = RegistryRead | RegistryWrite | ServiceConnect | DeviceConnect

// String lists the permissions, such as "RegistryRead, RegistryWrite".
func (p Permission) String() string {
	var names []string
	for i, name := range [...]string{"RegistryRead", "RegistryWrite", "ServiceConnect", "DeviceConnect"} {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	if names == nil {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// Principal is an application that has proven who it is.
type Principal struct {
	// Name is that of the shared access policy, or "admin".
	Name string
	// Permissions is what it may do.
	Permissions Permission
}

// Admin is the local administrator: whoever can read the data directory.
func Admin() Principal { return Principal{Name: "admin", Permissions: All} }

// Allows reports whether the principal has all of the permissions needed.
func (p Principal) Allows(need Permission) bool { return p.Permissions&need == need }

// Require refuses with IotHubUnauthorizedAccess what the principal may not do.
// what names the operation or resource for the text.
func (p Principal) Require(need Permission, what string) error {
	if p.Allows(need) {
		return nil
	}
	return iot.Errorf(iot.UnauthorizedAccess, "Authorization rule '%s' does not allow access for '%s': it needs %s and the rule grants %s",
		p.Name, what, need, p.Permissions)
}
