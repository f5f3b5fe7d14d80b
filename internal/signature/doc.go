// Package signature decides which container images may be used: it applies the rules of ImageVerificationConfig, and verifies
// signatures by public key.
//
// # Rules
//
// A [Policy] is rules in their order; the first whose pattern matches an image decides: it may be used as it is (Skip), never
// (Deny), or with a signature by a key. An image that no rule matches may be used.
//
// # Signatures
//
// Two forms are read, both of which cosign makes. The older one is an image of its own beside the signed one, with the tag
// sha256-HEX.sig: each layer is a payload of the type "simple signing" (containers/image, docs/containers-signature.5.md), and an
// annotation has the signature of its bytes. The newer one is a Sigstore bundle (protobuf-specs, sigstore_bundle.proto, version 0.3)
// that refers to the image: a DSSE envelope (DSSE 1.0) around an in-toto statement about its digest. A signature counts only for the
// digest that it names, so what is verified is a digest, and that is what has to be pulled.
//
// Keys are ECDSA with SHA-256 (ASN.1), RSA with PKCS #1 v1.5 and SHA-256, Ed25519: what cosign takes for a key of that kind.
//
// # What it does not do
//
// It does not look for entries in a transparency log: a rule trusts its key for as long as the config has it. Signatures by
// identity ("keyless") are not verified, because that needs Sigstore's certificate authority, its log and a store of roots that
// is renewed over the network: an image that a rule wants such a signature of is refused.
//
// The package knows no network: a [Registry] is what it needs of one.
package signature
