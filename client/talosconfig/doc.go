// Package talosconfig is the client's configuration file, talosconfig: which clusters there are, how to
// reach them and with which credentials.
//
// # Model
//
// A [Config] has named contexts, one of which is current. A [Context] has endpoints (where to connect),
// nodes (whom the calls are for), and credentials: the authority of the cluster, a client certificate and
// its key, each as base64 of PEM. They are kept as the text that the file has and decoded when they are
// used ([Context.Material], [Context.Identity]), so that one broken context does not keep a person from
// using the others, or from removing it.
//
// # Unknown keys
//
// The file is shared by programs of different versions. Keys that this one does not know are kept, with
// their place in the tree, and reported as [Warning]: a merge by an old client must not take from a new
// one what it wrote. Known keys with the wrong type are errors. Comments are not kept.
// Credentials of the kind auth.basic have no described form and are carried in the same way.
//
// # Secrets
//
// The private key prints as [secret.Redacted]; unknown values and auth.basic do not print at all. Errors
// and warnings name keys and lines, never values.
package talosconfig
