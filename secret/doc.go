// Package secret is the public key infrastructure of a cluster: authorities, the certificates that they
// issue, tokens and encryption secrets, and the bundle (secrets.yaml) that holds all of it.
//
// # Model
//
// A cluster has four authorities, one for each circle of trust: [OS] signs what speaks the machine API,
// [Etcd] the members of etcd and their clients, [Kubernetes] the API server and its clients, and
// [FrontProxy] the one client that may speak for others to an aggregated API server. An [Authority] is a
// CA certificate with its key. A [Leaf] says what an end-entity certificate shall be, without its key;
// the functions of profile.go are the leaves that a cluster needs. [Authority.Issue] turns a Leaf into a
// [Pair], a certificate with a fresh key; [Authority.SignCSR] does it for a key that stays with its owner.
//
// A role of the machine API is an entry of the certificate's organisation: see [Roles].
//
// # Time
//
// Nothing here reads a clock: every function that needs the time takes it. Every certificate is valid
// from [Backdate] before that time, so that a peer whose clock is behind accepts it.
//
// # Randomness
//
// Keys, serial numbers and signatures always come from crypto/rand, which cannot be replaced. Functions
// that make tokens and secrets take an optional reader for tests; nil means crypto/rand.
//
// # What does not leak
//
// [Key], [Text] and [Token] hold private material. They print as [Redacted] under every verb of fmt and
// in log/slog, also inside other structs and in unexported fields, and refuse to be marshalled by
// encoding/json or YAML. Their content comes out only by a method call that names it: [Text.Reveal],
// [Token.Reveal], [Key.PEM], [Key.Signer], [Bundle.Marshal]. Errors of this package never quote values.
//
// # Limits
//
// The cryptography is that of crypto/x509 and its neighbours. There is no revocation: certificates live
// briefly, and an authority that leaked is rotated. The package touches no file by itself, so that
// config, client and every controller may import it.
package secret
