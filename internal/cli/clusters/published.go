package clusters

import (
	"talos.internal/internal/provision"
)

// kubernetesPort is the port of the API of Kubernetes on a node of the control plane.
const kubernetesPort = 6443

// published is the URL at which this computer reaches the API of Kubernetes, where machines are not reached at their addresses:
// that of the first running node of the control plane but for the one named. It is "" where they are, and the kubeconfig is right.
func (g *grown) published(but string) string {
	for _, n := range g.cluster.Nodes {
		host := n.Published[kubernetesPort]
		if n.Type == provision.ControlPlane && n.Status == provision.Running && n.Name != but && host != "" {
			return "https://" + host
		}
	}
	return ""
}
