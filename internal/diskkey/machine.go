package diskkey

import (
	"os"

	"talos.internal/internal/eventlog"
	"talos.internal/internal/sys/proc"
	"talos.internal/internal/sys/tpm"
)

// OfMachine returns what has the keys of encrypted volumes on the machine that it runs on. uuid is the machine's; policyKey and signatures are the
// files that the boot image brought. What it did not bring is empty: a key that needs it says so.
func OfMachine(uuid, policyKey, signatures string) *Keeper {
	k := &Keeper{
		UUID: uuid,
		OpenTPM: func() (TPM, error) {
			t, err := tpm.Open()
			if err != nil {
				return nil, err
			}
			return t, nil
		},
		EventLog: func() (eventlog.Log, error) {
			b, err := tpm.EventLog()
			if err != nil {
				return nil, err
			}
			return eventlog.Parse(b)
		},
		SecureBoot: func() (bool, error) {
			s, err := proc.Reader{}.Security()
			return s.SecureBoot, err
		},
	}
	k.PolicyKey, _ = os.ReadFile(policyKey)
	k.Signatures, _ = os.ReadFile(signatures)
	return k
}
