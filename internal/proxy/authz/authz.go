// Package authz says which role may call which method of the machine API.
//
// There is one table, in table.go: from the full name of a method to the roles it is for. A method that is not in it is
// for [secret.RoleAdmin] alone, so that one which was forgotten, or which only a newer node knows, is closed and not open.
// A role is an entry of the organisation of a client certificate ([secret.Roles]); one that this package does not know
// matches nothing.
//
// In maintenance mode a machine has no authority yet and callers are anonymous; they are readers, and a few methods that
// otherwise need an administrator are open to readers too, since without them nothing could be installed.
//
// The package only decides: who the caller is, the proxy has found out before. It has no state and is safe for concurrent
// use. Both ends of the way, apid and machined, may ask it.
package authz

import (
	"maps"
	"slices"

	"talos.internal/secret"
)

// Mode says in which state of its life the machine is, as far as access is concerned.
type Mode uint8

// The modes.
const (
	Running     Mode = iota // the machine has its config; callers show certificates
	Maintenance             // the machine has none yet; callers are anonymous
)

// Allowed reports whether a caller with these roles may call the method, such as "/machine.MachineService/Reboot", on a
// machine that runs. Without roles nothing is allowed.
func Allowed(method string, roles []string) bool { return Running.Allowed(method, roles) }

// Allowed is the function of the same name for a machine in mode m.
func (m Mode) Allowed(method string, roles []string) bool {
	need := m.need(method)

	return slices.ContainsFunc(roles, func(role string) bool { return need&bits[role] != 0 })
}

// Needs returns the roles of which a caller must have one, in the order admin, operator, reader, and then those for special
// purposes.
func (m Mode) Needs(method string) []string {
	need := m.need(method)

	var names []string

	for _, role := range order {
		if need&bits[role] != 0 {
			names = append(names, role)
		}
	}

	return names
}

func (m Mode) need(method string) set {
	need, ok := table[method]
	if !ok {
		return admin
	}

	if m == Maintenance && need&whileMaintained != 0 {
		need |= reader
	}

	return need
}

// Listed reports whether the method is in the table; one that is not is for administrators.
func Listed(method string) bool {
	_, ok := table[method]

	return ok
}

// Methods returns the methods of the table, sorted.
func Methods() []string { return slices.Sorted(maps.Keys(table)) }

// Sensitive reports whether a caller with these roles may read resources whose definition calls them sensitive.
// The proxy cannot decide that, since it does not decode requests: the server of resources asks.
func Sensitive(roles []string) bool { return slices.Contains(roles, secret.RoleAdmin) }

// set is a set of roles; whileMaintained is a mark and no role.
type set uint8

const (
	admin set = 1 << iota
	operator
	reader
	etcdBackup
	imageVerifier
	metaWriter
	whileMaintained
)

// bits has no entry for os:impersonator: it says in whose name a call is made, and allows nothing by itself.
var bits = map[string]set{
	secret.RoleAdmin:         admin,
	secret.RoleOperator:      operator,
	secret.RoleReader:        reader,
	secret.RoleEtcdBackup:    etcdBackup,
	secret.RoleImageVerifier: imageVerifier,
	secret.RoleMetaWriter:    metaWriter,
}

var order = []string{
	secret.RoleAdmin, secret.RoleOperator, secret.RoleReader,
	secret.RoleEtcdBackup, secret.RoleImageVerifier, secret.RoleMetaWriter,
}
