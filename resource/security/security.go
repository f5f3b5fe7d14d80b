package security

import (
	"time"

	"talos.internal/resource"
)

// TUFTrustedRootID is the id of the only [TUFTrustedRoot].
const TUFTrustedRootID = "trusted_root.json"

// ImageVerificationRule says how images of a name are verified. Its id is its place, from "0000"; the
// first that matches counts.
type ImageVerificationRule struct {
	ImagePattern      string                  `yaml:"imagePattern" proto:"2"`                // of image references, with * for anything
	Skip              bool                    `yaml:"skip" proto:"3"`                        // images need no signature
	Deny              bool                    `yaml:"deny" proto:"4"`                        // images are refused
	KeylessVerifier   *ImageKeylessVerifier   `yaml:"keylessVerifier,omitempty" proto:"5"`   // by an identity
	PublicKeyVerifier *ImagePublicKeyVerifier `yaml:"publicKeyVerifier,omitempty" proto:"6"` // by a key
}

// ResourceDefinition implements [resource.Spec].
func (ImageVerificationRule) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "ImageVerificationRules.security.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{
			{Name: "Pattern", JSONPath: "{.imagePattern}"},
			{Name: "Skip", JSONPath: "{.skip}"},
			{Name: "Deny", JSONPath: "{.deny}"},
		},
	}
}

// ImageKeylessVerifier accepts signatures of an identity (sigstore's keyless signing).
type ImageKeylessVerifier struct {
	Issuer       string `yaml:"issuer" proto:"1"` // who vouches for the identity
	Subject      string `yaml:"subject" proto:"2"`
	SubjectRegex string `yaml:"subjectRegex" proto:"3"` // instead of Subject
}

// ImagePublicKeyVerifier accepts signatures of a key.
type ImagePublicKeyVerifier struct {
	Certificate string `yaml:"certificate" proto:"1"` // in PEM
}

// TUFTrustedRoot is whom sigstore's signatures are checked against.
type TUFTrustedRoot struct {
	LastRefreshTime time.Time `yaml:"lastRefreshTime" proto:"1"`
	JSONData        string    `yaml:"jsonData" proto:"2"` // a sigstore TrustedRoot
}

// ResourceDefinition implements [resource.Spec].
func (TUFTrustedRoot) ResourceDefinition() resource.Definition {
	return resource.Definition{
		Type: "TUFTrustedRoots.security.talos.dev", Namespace: Namespace,
		Columns: []resource.Column{{Name: "Last Refresh", JSONPath: "{.lastRefreshTime}"}},
	}
}
