package secretsctrl

import (
	"context"
	"log/slog"
	"time"

	"talos.internal/controller"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// TrustdController issues the certificate of trustd, on control-plane nodes.
type TrustdController struct{}

// Name implements [controller.Controller].
func (*TrustdController) Name() string { return "secrets.TrustdController" }

// Inputs implements [controller.Controller].
func (*TrustdController) Inputs() []controller.Input {
	return append(gateInputs(), typeInput(),
		controller.Weak[secrets.OSRoot]().Named(secrets.OSRootID),
		controller.Weak[secrets.CertSAN]().Named(secrets.CertSANAPI),
		controller.DestroyReady[secrets.Trustd](),
	)
}

// Outputs implements [controller.Controller].
func (*TrustdController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[secrets.Trustd]()}
}

// Run implements [controller.Controller].
func (c *TrustdController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	return loop(ctx, rt, log, func(ctx context.Context) (outcome, error) {
		kind, err := machineType(ctx, rt)
		if err != nil {
			return outcome{}, err
		}
		root, ok, err := state.Find[secrets.OSRoot](ctx, rt, secrets.OSRootID)
		if err != nil {
			return outcome{}, err
		}
		if !isControlPlane(kind) || !ok || root.IssuingCA == nil {
			return outcome{}, remove[secrets.Trustd](ctx, rt)
		}
		if waiting, err := gates(ctx, rt, true); err != nil || waiting != "" {
			return outcome{waiting: waiting}, err
		}
		san, ok, err := state.Find[secrets.CertSAN](ctx, rt, secrets.CertSANAPI)
		if err != nil || !ok {
			return outcome{waiting: "the names for the certificate"}, err
		}
		ca, err := parseAuthority("machine.ca", *root.IssuingCA)
		if err != nil {
			return outcome{}, err
		}
		have, _, err := state.Find[secrets.Trustd](ctx, rt, secrets.TrustdID)
		if err != nil {
			return outcome{}, err
		}
		i := &issuing{log: log, now: time.Now()}
		server, err := i.keep("trustd", have.Server, ca, serverLeaf(san))
		if err != nil {
			return outcome{}, err
		}
		return outcome{next: i.next}, state.Put(ctx, rt, secrets.TrustdID, secrets.Trustd{Server: server, AcceptedCAs: root.AcceptedCAs})
	})
}
