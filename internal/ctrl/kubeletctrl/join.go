package kubeletctrl

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/kube"
	"talos.internal/state"
)

// lookPeriod is how often the files of kubelet are looked at. They are few and small, and kubelet writes them seldom.
const lookPeriod = time.Second

// KubeconfigController says that kubelet has joined the cluster, and has a certificate.
type KubeconfigController struct{ deps Deps }

// Name implements [controller.Controller].
func (KubeconfigController) Name() string { return "k8s.KubeletKubeconfigController" }

// Inputs implements [controller.Controller].
func (KubeconfigController) Inputs() []controller.Input {
	return []controller.Input{controller.DestroyReady[kube.KubeletKubeconfig]()}
}

// Outputs implements [controller.Controller].
func (KubeconfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[kube.KubeletKubeconfig]()}
}

// Run implements [controller.Controller].
func (c KubeconfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	ticker := time.NewTicker(lookPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rt.Changes():
		case <-ticker.C:
		}
		hash, err := c.deps.joined()
		if err == nil && hash == "" {
			err = remove(ctx, rt)
		} else if err == nil {
			err = state.Put(ctx, rt, kube.KubeletID, kube.KubeletKubeconfig{Hash: hash})
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		rt.ResetBackoff()
	}
}

// joined returns a hash of kubelet's kubeconfig and its certificate; empty if it has not both. kubelet writes the kubeconfig before
// it has the certificate that is named in it.
func (d *Deps) joined() (string, error) {
	h := sha256.New()
	for _, name := range []string{d.kubeconfigFile(), d.clientCertFile()} {
		data, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("look at the credentials of kubelet: %w", err)
		}
		_, _ = h.Write(data)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
