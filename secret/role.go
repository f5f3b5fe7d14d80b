package secret

import "crypto/x509"

// The roles of the machine API that are built in. They travel as entries of the organisation in the
// subject of a client certificate.
const (
	RoleAdmin         = "os:admin"          // everything
	RoleOperator      = "os:operator"       // reads, reboots, services
	RoleReader        = "os:reader"         // reads what is not sensitive
	RoleEtcdBackup    = "os:etcd:backup"    // takes snapshots of etcd
	RoleImpersonator  = "os:impersonator"   // speaks for another caller: node to node only
	RoleImageVerifier = "os:image:verifier" // verifies images: on-node callers only
	RoleMetaWriter    = "os:meta:writer"    // writes META: on-node callers only
)

// Roles returns the roles that a certificate carries, in its order. Empty entries are dropped; unknown
// ones are kept, and mean nothing to a server that does not know them.
func Roles(cert *x509.Certificate) []string {
	var roles []string

	for _, role := range cert.Subject.Organization {
		if role != "" {
			roles = append(roles, role)
		}
	}

	return roles
}
