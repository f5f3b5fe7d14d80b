// Package kubeconfig writes the files by which Kubernetes' clients find a cluster and prove who they are,
// and merges one into another.
//
// A kubeconfig (apiVersion v1, kind Config) has three lists of named entries: clusters (address and
// authority), users (credentials) and contexts (a cluster, a user and a namespace), and the name of the
// current context. [Spec.Marshal] writes a file with one entry each. [Merge] works on the text of a file
// that belongs to a person: it adds entries and leaves all else as it is, unknown fields and comments
// included.
//
// The package knows just as much of the format as that takes, and touches no file. Client, CLI and
// controllers may import it.
package kubeconfig
