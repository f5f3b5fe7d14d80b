package block

import "talos.internal/resource"

// RecoveryKey opens an encrypted volume when its other keys do not. Its id is the volume's. It is there from when the volume was made
// until the next start, and then nowhere: whoever wants to have it writes it down. It is no part of the published contract.
type RecoveryKey struct {
	Key string `yaml:"key"` // what a person enters as a static passphrase
}

// ResourceDefinition implements [resource.Spec].
func (RecoveryKey) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "RecoveryKeys.block.talos.dev", Namespace: Namespace, Sensitive: true,
		Columns: []resource.Column{{Name: "Key", JSONPath: "{.key}"}},
	}
}
