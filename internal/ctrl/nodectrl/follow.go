package nodectrl

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"talos.internal/controller"
	"talos.internal/internal/kubeapi"
	"talos.internal/resource/kube"
	"talos.internal/resource/machineconfig"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// again is how long a watch that broke off waits before it begins anew.
const again = time.Second

// credentials are what the API server knows the machine by.
type credentials struct {
	kubeconfig string
	admin      bool
}

// credentialInputs are the inputs of credentialsOf.
func credentialInputs() []controller.Input {
	return []controller.Input{
		controller.Weak[machineconfig.Type]().Named(machineconfig.TypeID),
		controller.Weak[secrets.Kubernetes]().Named(secrets.KubernetesID),
		controller.Weak[kube.KubeletKubeconfig]().Named(kube.KubeletID),
	}
}

// credentialsOf returns the machine's credentials: an administrator's on the control plane, kubelet's own on a worker. There are none
// yet if waiting is not empty.
func (d Deps) credentialsOf(ctx context.Context, rt controller.Runtime) (c credentials, waiting string, err error) {
	kind, err := state.Lookup[machineconfig.Type](ctx, rt, machineconfig.TypeID)
	if err != nil {
		return c, "", err
	}
	if kind != nil && (kind.Type == machineconfig.TypeControlPlane || kind.Type == machineconfig.TypeInit) {
		keys, err := state.Lookup[secrets.Kubernetes](ctx, rt, secrets.KubernetesID)
		if err != nil || keys == nil || keys.LocalhostAdminKubeconfig == "" {
			return c, "the certificates of the control plane", err
		}
		return credentials{keys.LocalhostAdminKubeconfig, true}, "", nil
	}
	return d.kubeletCredentials(ctx, rt)
}

// kubeletCredentials returns kubelet's own credentials.
func (d Deps) kubeletCredentials(ctx context.Context, rt controller.Runtime) (c credentials, waiting string, err error) {
	joined, err := state.Lookup[kube.KubeletKubeconfig](ctx, rt, kube.KubeletID)
	if err != nil || joined == nil {
		return c, "kubelet to join the cluster", err
	}
	data, err := d.read()
	if errors.Is(err, fs.ErrNotExist) {
		return c, "kubelet to join the cluster", nil
	}
	return credentials{kubeconfig: string(data)}, "", err
}

// connect returns a client.
func (d Deps) connect(c credentials) (*kubeapi.Client, error) {
	conf, err := kubeapi.ParseKubeconfig([]byte(c.kubeconfig), d.Root)
	if err != nil {
		return nil, err
	}
	return kubeapi.New(conf, kubeapi.Options{Dial: d.Dial})
}

// follower watches objects of one kind for a controller.
type follower struct {
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu    sync.Mutex
	known bool
	items []kubeapi.Object
}

// follow begins to watch, until stop. wake is called when get may return something else.
func follow(ctx context.Context, client *kubeapi.Client, k kubeapi.Kind, namespace string, o kubeapi.ListOptions, wake func(), log *slog.Logger) *follower {
	ctx, cancel := context.WithCancel(ctx)
	f := &follower{cancel: cancel}
	f.done.Go(func() {
		defer client.Close()
		last := ""
		for {
			err := client.Follow(ctx, k, namespace, o, func(items []kubeapi.Object) error {
				f.mu.Lock()
				f.known, f.items = true, items
				f.mu.Unlock()
				last = ""
				wake()
				return nil
			})
			if ctx.Err() != nil {
				return
			}
			if text := fmt.Sprint(err); text != last {
				last = text
				log.Info("the API server is asked again", "what", k.String(), "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(again):
			}
		}
	})
	return f
}

// get returns the objects as they were last seen; known is false if none were seen yet.
func (f *follower) get() (items []kubeapi.Object, known bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.items, f.known
}

// stop ends it and waits until it has ended. It may be called on nil.
func (f *follower) stop() {
	if f != nil {
		f.cancel()
		f.done.Wait()
	}
}
