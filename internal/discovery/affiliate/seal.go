package affiliate

import (
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Limits of what is sealed and opened.
const (
	SecretSize   = 32       // bytes of a cluster's secret
	MaxID        = 128      // bytes of a machine's id
	MaxSealed    = 32 << 10 // bytes of sealed data
	MaxEndpoints = 64       // of one machine

	// Overhead is how many bytes longer sealed data is: the nonce and the tag of AES-GCM.
	Overhead = 12 + 16
)

// Causes of errors of [Key.Open] and [Key.Seal].
var (
	// ErrSecret: a cluster's secret that is not SecretSize bytes.
	ErrSecret = errors.New("a cluster secret has 32 bytes")
	// ErrSize: data too short to have been sealed, or longer than MaxSealed.
	ErrSize = errors.New("the size is out of range")
	// ErrSeal: the seal does not hold: another secret, or somebody changed the data.
	ErrSeal = errors.New("the seal does not hold: another cluster secret, or changed data")
	// ErrContent: the seal holds, but what is inside cannot be read.
	ErrContent = errors.New("the content is not valid")
	// ErrIdentity: the seal holds and the content is about another machine than the service says.
	ErrIdentity = errors.New("the content is about another machine")
)

// Key seals and opens with a cluster's secret. It may be used concurrently.
type Key struct {
	aead  cipher.AEAD
	block cipher.Block
}

// NewKey returns the key of a secret of SecretSize bytes, which it does not keep. Its only error is ErrSecret.
func NewKey(secret []byte) (*Key, error) {
	if len(secret) != SecretSize {
		return nil, fmt.Errorf("%w, not %d", ErrSecret, len(secret))
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	// This mode writes a random nonce before the ciphertext and reads it from there: the published format.
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead: aead, block: block}, nil
}

// Seal returns p sealed. Two calls never return the same bytes. It returns ErrContent for an id, address or endpoint that
// cannot be read again, and ErrSize if the result would be longer than MaxSealed.
func (k *Key) Seal(p Payload) ([]byte, error) {
	if n := len(p.Node.ID); n == 0 || n > MaxID {
		return nil, fmt.Errorf("seal a %s: %w: an id of %d bytes", p.Kind, ErrContent, n)
	}
	if len(p.Node.Endpoints) > MaxEndpoints {
		return nil, fmt.Errorf("seal the %s of %s: %w: %d endpoints", p.Kind, p.Node.ID, ErrContent, len(p.Node.Endpoints))
	}
	plain, err := marshal(p)
	if err != nil {
		return nil, fmt.Errorf("seal the %s of %s: %w: %w", p.Kind, p.Node.ID, ErrContent, err)
	}
	if len(plain)+Overhead > MaxSealed {
		return nil, fmt.Errorf("seal the %s of %s: %w: %d bytes", p.Kind, p.Node.ID, ErrSize, len(plain)+Overhead)
	}
	return k.aead.Seal(nil, nil, plain, nil), nil
}

// Open opens what a service says about machine id: sealed data, and the endpoints beside it if a published client wrote
// them. Endpoints that cannot be read are counted, not an error: anybody can add some at the service, and that must not
// hide a machine. Errors are ErrSize, ErrSeal, ErrContent and ErrIdentity.
func (k *Key) Open(id string, data []byte, endpoints [][]byte) (Payload, error) {
	if len(data) < Overhead || len(data) > MaxSealed {
		return Payload{}, fmt.Errorf("open what is said about %q: %w: %d bytes", id, ErrSize, len(data))
	}
	plain, err := k.aead.Open(nil, nil, data, nil)
	if err != nil {
		return Payload{}, fmt.Errorf("open what is said about %q: %w", id, ErrSeal)
	}
	p, err := unmarshal(plain)
	if err != nil {
		return Payload{}, fmt.Errorf("open what is said about %q: %w: %w", id, ErrContent, err)
	}
	if p.Node.ID != id {
		return Payload{}, fmt.Errorf("open what is said about %q: %w: %q", id, ErrIdentity, p.Node.ID)
	}
	for _, b := range endpoints {
		e, err := k.openEndpoint(b)
		if err != nil || len(p.Node.Endpoints) >= MaxEndpoints {
			p.Ignored++
			continue
		}
		if !slices.Contains(p.Node.Endpoints, e) {
			p.Node.Endpoints = append(p.Node.Endpoints, e)
		}
	}
	return p, nil
}

// openEndpoint opens an endpoint from beside the seal: sealed like data, or in the published form. That is AES-ECB of one
// byte of length, a sidero.discovery.client.Endpoint of that length, and padding up to a whole block.
func (k *Key) openEndpoint(b []byte) (netip.AddrPort, error) {
	if len(b) > MaxSealed {
		return netip.AddrPort{}, ErrSize
	}
	if len(b) >= Overhead {
		if plain, err := k.aead.Open(nil, nil, b, nil); err == nil {
			return endpoint(plain)
		}
	}
	if len(b) == 0 || len(b)%aes.BlockSize != 0 {
		return netip.AddrPort{}, ErrSize
	}
	plain := make([]byte, len(b))
	for i := 0; i < len(b); i += aes.BlockSize {
		k.block.Decrypt(plain[i:], b[i:i+aes.BlockSize])
	}
	size := int(plain[0])
	// The padding is shorter than a block, whatever it consists of. That is all there is to recognise a wrong key by,
	// apart from the message inside.
	if size+1 > len(plain) || len(plain)-size-1 >= aes.BlockSize {
		return netip.AddrPort{}, ErrSeal
	}
	return endpoint(plain[1 : 1+size])
}
