// Package kubectrl has the controllers of the Kubernetes control plane on a node: what its components are started with, the files
// that they read, and the static pods that kubelet runs.
//
// # Model
//
// The machine config's documents become one resource for each subject (kube.APIServerConfig, kube.AuditPolicyConfig, …). What a
// component is started with exists twice: as the config says it, in the namespace [kube.ConfigNamespace], and final, with the whole
// command line, in [kube.ControlPlaneNamespace]. Files are written for each component into a directory of its own, which belongs
// to the component's user: secrets below one root (kube.SecretsStatus), configs below another (kube.ConfigStatus). The version of
// such a status has a part for each component ([partOf]), made from the content of its files.
//
// From all this a Pod is made for each component (kube.StaticPod). Its annotations have the versions of its config, its secrets and
// its files; so kubelet replaces the pod whose input has changed, and no other. kubelet gets the pods over HTTP on loopback
// (kube.StaticPodServerStatus), with those that the config has besides. What became of them is read from kubelet
// (kube.StaticPodStatus).
//
// A node that is no control plane has none of it but the user's static pods.
//
// # What it does not do
//
// It issues no certificates (secretsctrl), runs neither etcd (etcdctrl) nor kubelet (kubeletctrl), and applies no objects to the
// cluster.
package kubectrl

import (
	"context"
	"errors"
	"net/http"
	"os"

	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/resource"
	"talos.internal/resource/kube"
	"talos.internal/state"
)

// Deps is what the controllers need of the outside. The zero value is that of a node.
type Deps struct {
	// Secrets and Configs are the directories below which each component has one; empty is /system/secrets/kubernetes and
	// /system/config/kubernetes. Pods have them at the same paths. They are made.
	Secrets, Configs string
	// Chown gives a file to a component's user; nil is [os.Chown].
	Chown func(name string, uid, gid int) error
	// KubeletPKI is kubelet's directory of certificates, by which its API is known; empty is /var/lib/kubelet/pki.
	KubeletPKI string
	// KubeletURL is kubelet's API; empty is https://127.0.0.1:10250.
	KubeletURL string
	// Image has an image be there for pods; nil is for a node whose containerd is somebody else's affair.
	Image func(ctx context.Context, ref string) error
	// Ready tells why the API server that a kubeconfig leads to is not ready; nil is [APIServerReady].
	Ready func(ctx context.Context, kubeconfig string) error
	// Garbage is the GOGC of the control plane, unless the config has another: how much garbage there may be, in percent of what is in
	// use. "" leaves it to the programs.
	Garbage string
	// Transport makes calls to kubelet in place of one that knows its certificate; for tests.
	Transport http.RoundTripper
}

// Where files are on a node.
const (
	defaultSecrets    = "/system/secrets/kubernetes"
	defaultConfigs    = "/system/config/kubernetes"
	defaultKubeletPKI = "/var/lib/kubelet/pki"
	defaultKubeletURL = "https://127.0.0.1:10250"
	auditDir          = "/var/log/audit/kube"
)

func (d *Deps) fill() {
	set := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	set(&d.Secrets, defaultSecrets)
	set(&d.Configs, defaultConfigs)
	set(&d.KubeletPKI, defaultKubeletPKI)
	set(&d.KubeletURL, defaultKubeletURL)
	if d.Ready == nil {
		d.Ready = APIServerReady
	}
	if d.Chown == nil {
		d.Chown = os.Chown
	}
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	d.fill()
	all := []controller.Controller{
		fromConfig[kube.AdmissionControlConfig]{name: "k8s.ControlPlaneAdmissionControlController", id: kube.AdmissionControlConfigID, derive: admissionControl},
		fromConfig[kube.AuditPolicyConfig]{name: "k8s.ControlPlaneAuditPolicyController", id: kube.AuditPolicyConfigID, derive: auditPolicy},
		fromConfig[kube.AuthenticationConfig]{name: "k8s.ControlPlaneAuthenticationController", id: kube.AuthenticationConfigID, derive: authentication},
		fromConfig[kube.AuthorizationConfig]{name: "k8s.ControlPlaneAuthorizationController", id: kube.AuthorizationConfigID, derive: authorization},
		fromConfig[kube.APIServerConfig]{name: "k8s.ControlPlaneAPIServerController", id: kube.APIServerConfigID, in: kube.ConfigNamespace, derive: apiServer},
		fromConfig[kube.ControllerManagerConfig]{name: "k8s.ControlPlaneControllerManagerController", id: kube.ControllerManagerConfigID, in: kube.ConfigNamespace, derive: controllerManager},
		fromConfig[kube.SchedulerConfig]{name: "k8s.ControlPlaneSchedulerController", id: kube.SchedulerConfigID, in: kube.ConfigNamespace, derive: scheduler},
		apiServerFinal(d), controllerManagerFinal(d), schedulerFinal(d),
		EtcdEncryptionConfigController{},
		&RenderSecretsController{deps: d}, &RenderConfigsController{deps: d},
		ControlPlaneStaticPodController{deps: d}, StaticPodConfigController{},
		&StaticPodServerController{}, &KubeletStaticPodController{deps: d},
	}
	if d.Image != nil {
		all = append(all, ImagesController{deps: d})
	}
	return all
}

// get is [state.Find] with the metadata.
func get[S resource.Spec](ctx context.Context, st state.Reader, id string, opts ...state.Option) (*resource.Typed[S], bool, error) {
	r, err := state.Get[S](ctx, st, id, opts...)
	switch {
	case errors.Is(err, state.NotFound):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case r.Metadata().Phase() == resource.TearingDown:
		return nil, false, nil
	}
	return r, true, nil
}

// remove takes away what the controller has.
func remove(ctx context.Context, rt controller.Runtime) error {
	rt.TrackOutputs()
	return rt.CleanupOutputs(ctx)
}

// onControlPlane reports whether a config is that of a control-plane node.
func onControlPlane(c *effective.Config) bool {
	root, _, ok := rootdoc.Find(c.Set)
	return ok && root.Role() == schema.ControlPlane
}
