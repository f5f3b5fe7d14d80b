package signature

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// What the forms of signatures call themselves.
const (
	simpleType    = "application/vnd.dev.cosign.simplesigning.v1+json"
	simpleKey     = "dev.cosignproject.cosign/signature"
	simpleClaim   = "cosign container image signature"
	bundleType    = "application/vnd.dev.sigstore.bundle"
	inTotoType    = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v"
	signPredicate = "https://sigstore.dev/cosign/sign/v"
)

// checkSimple verifies a payload of the older form, whose signature is in base64, for an image.
func checkSimple(verify verifier, payload []byte, signature string, image digest.Digest) error {
	raw, err := base64.StdEncoding.DecodeString(signature)
	if err != nil {
		return fmt.Errorf("its signature is not in base64: %w", err)
	}
	if err := verify(payload, raw); err != nil {
		return err
	}
	// Only what the key has signed is read.
	var claim struct {
		Critical struct {
			Image struct {
				Digest digest.Digest `json:"docker-manifest-digest"`
			} `json:"image"`
			Type string `json:"type"`
		} `json:"critical"`
	}
	if err := json.Unmarshal(payload, &claim); err != nil {
		return fmt.Errorf("what was signed is no claim about an image: %w", err)
	}
	switch {
	case claim.Critical.Type != simpleClaim:
		return fmt.Errorf("what was signed is of the type %.60q", claim.Critical.Type)
	case claim.Critical.Image.Digest != image:
		return fmt.Errorf("what was signed is another image, %.80q", claim.Critical.Image.Digest)
	}
	return nil
}

// envelope is a DSSE envelope in JSON.
type envelope struct {
	Payload     []byte `json:"payload"`
	PayloadType string `json:"payloadType"`
	Signatures  []struct {
		Sig []byte `json:"sig"`
	} `json:"signatures"`
}

// preAuthentication is what a DSSE signature is of (DSSE 1.0, "PAE").
func preAuthentication(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// checkBundle verifies a Sigstore bundle for an image.
func checkBundle(verify verifier, text []byte, image digest.Digest) error {
	var bundle struct {
		Envelope *envelope `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(text, &bundle); err != nil {
		return fmt.Errorf("it is no bundle: %w", err)
	}
	e := bundle.Envelope
	if e == nil || len(e.Signatures) == 0 {
		return errors.New("the bundle has no signed envelope")
	}
	signed := preAuthentication(e.PayloadType, e.Payload)
	err := errSignature
	for _, s := range e.Signatures {
		if err = verify(signed, s.Sig); err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	if e.PayloadType != inTotoType {
		return fmt.Errorf("what was signed is of the type %.60q", e.PayloadType)
	}
	return checkStatement(e.Payload, image)
}

// checkStatement looks for the image in an in-toto statement that was signed. A statement about something else than that the
// image is signed, such as how it was built, does not count: who signs that need not mean that the image may run.
func checkStatement(payload []byte, image digest.Digest) error {
	var statement struct {
		Type      string `json:"_type"`
		Predicate string `json:"predicateType"`
		Subject   []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(payload, &statement); err != nil {
		return fmt.Errorf("what was signed is no statement: %w", err)
	}
	if !strings.HasPrefix(statement.Type, statementType) || !strings.HasPrefix(statement.Predicate, signPredicate) {
		return fmt.Errorf("what was signed is a statement of the type %.60q with %.60q", statement.Type, statement.Predicate)
	}
	want, err := hex.DecodeString(image.Encoded())
	if err != nil {
		return err
	}
	for _, s := range statement.Subject {
		if got, err := hex.DecodeString(s.Digest[image.Algorithm().String()]); err == nil && len(got) > 0 && string(got) == string(want) {
			return nil
		}
	}
	return errors.New("what was signed is another image")
}
