package native

// ImageCache is where a node has the image cache: an OCI image layout (see internal/image/oci), read-only. It stands on the
// tmpfs of /system and is there before PID 1 starts; where it is not, the node has none.
const ImageCache = "/system/imagecache"

// Name is the name of this provisioner in states and flags.
const Name = "native"

// Options are what a provisioner works with. Paths are absolute.
type Options struct {
	Dir    string // of clusters: see provision.DefaultDir
	Cache  string // of unpacked images; "" is the folder cache beside Dir
	Images string // the image cache, an OCI layout: node images come from it, and nodes get it
	Runc   string // path of runc; "" is the one in PATH
}
