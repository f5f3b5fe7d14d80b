// Package registryd serves the images of the node's image cache to its containerd: the reading half of the OCI distribution
// API, from OCI image layouts.
//
// containerd asks it first, as a mirror of every registry: the query ns names the registry that is meant. What the cache does not
// have is a 404, and containerd goes on to the next mirror. What it has is compared with its digest before the first byte is
// sent, once for each file as long as it does not change: a blob that is cut or altered is a 404 too, with the reason, so that the
// next source is asked instead of a broken image being taken.
//
// It listens on loopback only, asks for no credentials and writes nothing. Which layouts there are is said by its owner; they are
// described in package internal/image/oci, which makes them.
package registryd
