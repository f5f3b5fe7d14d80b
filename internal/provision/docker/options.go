package docker

// Name is the name of this provisioner in states and flags.
const Name = "docker"

// The published labels. A container with the first two that is in the cluster's network is a node of it, whoever made it.
const (
	labelOwned   = "talos.owned"        // "true"
	labelCluster = "talos.cluster.name" // name of the cluster
	labelType    = "talos.type"         // "init", "controlplane" or "worker"
	// labelState, which is our own, has the path of the folder of the cluster that made something.
	labelState = "talos.cluster.state"
)

// keyImages is the key of a state's data with the path of the image cache: later nodes get it, too, wherever they are added from.
const keyImages = "images"

// Options are what a provisioner works with. Paths are absolute, or relative to the working directory.
type Options struct {
	Dir    string // of clusters: see provision.DefaultDir
	Images string // the image cache, an OCI layout: node images come from it, and nodes get it; "" for none
	// Host is the daemon's address, such as unix:///var/run/docker.sock. "" is what the docker command would use: $DOCKER_HOST,
	// or the context that is chosen by $DOCKER_CONTEXT or in ~/.docker/config.json, or the default of this system.
	Host string
}
