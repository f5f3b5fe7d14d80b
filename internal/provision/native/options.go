package native

import "talos.internal/internal/provision"

// ImageCache is where a node has the image cache.
const ImageCache = provision.ImageCache

// Name is the name of this provisioner in states and flags.
const Name = "native"

// Options are what a provisioner works with. Paths are absolute.
type Options struct {
	Dir    string // of clusters: see provision.DefaultDir
	Cache  string // of unpacked images; "" is the folder cache beside Dir
	Images string // the image cache, an OCI layout: node images come from it, and nodes get it
	Runc   string // path of runc; "" is the one in PATH
}
