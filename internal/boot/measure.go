package boot

import (
	"context"
	"errors"
	"fmt"

	"talos.internal/internal/sys/pcr"
)

// What a signed boot image brings for the TPM: systemd's stub puts it into the initramfs; the node finds it at the other places.
const (
	stubSignatures = "/.extra/tpm2-pcr-signature.json"
	stubKey        = "/.extra/tpm2-pcr-public-key.pem"
	// PolicySignatures are signatures over the values that the register pcr.Image may have, in JSON; PolicyKey is the key of those, in PEM.
	PolicySignatures = "/run/initramfs/tpm2-pcr-signature.json"
	PolicyKey        = "/run/initramfs/tpm2-pcr-public-key.pem"
)

// Measure measures a phase of the start into the register pcr.Image of the TPM, if the machine has one. What was sealed to the phase before
// cannot be had after that.
type Measure string

// String names the phase.
func (m Measure) String() string { return fmt.Sprintf("measure %q into PCR %d", string(m), pcr.Image) }

func (m Measure) run(_ context.Context, h *Host, say func(string)) error {
	err := pcr.ErrNone
	if h.Extend != nil {
		err = h.Extend(pcr.Image, []byte(m))
	}
	if errors.Is(err, pcr.ErrNone) {
		say("there is no TPM")
		return nil
	}
	return err
}

// lostMeasure is what is lost if a phase cannot be measured, before the last.
const lostMeasure = "volumes whose keys the TPM has stay closed"

// WorldPlan returns the step after which the TPM gives nobody a volume's key any more, until the next start. It comes before the first container.
func WorldPlan() []Step {
	return []Step{{Name: "let nobody have the volumes' keys any more", Do: Measure(pcr.StartTheWorld), MayFail: "containers that may use the TPM could have the volumes' keys"}}
}
