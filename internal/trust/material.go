package trust

import (
	"errors"
	"fmt"
	"sync/atomic"

	"talos.internal/secret"
)

// ErrNoMaterial is what a [Source] returns as long as it has nothing: the node is still coming up.
var ErrNoMaterial = errors.New("this node has no authority, token or certificate yet")

// Material is what the server works with at one time. It is immutable.
type Material struct {
	// Issuing is the authority that signs.
	Issuing *secret.Authority
	// Server is what the server proves itself by.
	Server secret.Pair
	// Token is what callers have to show.
	Token secret.Token
}

// Parts are a Material as text: each but the token in PEM.
type Parts struct {
	IssuingCert, IssuingKey []byte
	ServerCert, ServerKey   []byte
	Token                   string
}

// ParseMaterial reads a Material. The error names the part and never quotes one.
func ParseMaterial(p Parts) (*Material, error) {
	var m Material
	var err error
	if m.Issuing, err = secret.ParseAuthority(p.IssuingCert, p.IssuingKey); err != nil {
		return nil, fmt.Errorf("trustd's issuing authority: %w", err)
	}
	if m.Server, err = secret.ParsePair(p.ServerCert, p.ServerKey); err != nil {
		return nil, fmt.Errorf("trustd's own certificate: %w", err)
	}
	if m.Token, err = secret.ParseToken(p.Token); err != nil {
		return nil, fmt.Errorf("machine token: %w", err)
	}
	return &m, nil
}

// Source gives the Material of now, or an error, such as [ErrNoMaterial]. It is asked at every handshake and every call, by many
// goroutines at once: it must be quick and must not block.
type Source interface {
	Material() (*Material, error)
}

// Current is a [Source] whose Material can be replaced at any time. Connections that exist go on. The zero Current has none yet.
// It is safe for concurrent use.
type Current struct{ p atomic.Pointer[Material] }

// Set replaces the Material; nil takes it away.
func (c *Current) Set(m *Material) { c.p.Store(m) }

// Material implements [Source].
func (c *Current) Material() (*Material, error) {
	if m := c.p.Load(); m != nil {
		return m, nil
	}
	return nil, ErrNoMaterial
}
