package secret

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
)

// The form of a token: an identifier, a dot and a secret, of lower-case letters and digits.
// It is that of Kubernetes' bootstrap tokens.
const (
	tokenAlphabet  = "abcdefghijklmnopqrstuvwxyz0123456789"
	tokenIDLen     = 6
	tokenSecretLen = 16
)

var errToken = errors.New("token: want 6 lower-case letters or digits, a dot and 16 more")

// Token admits a machine or a kubelet to a cluster. The zero Token is none and equals nothing.
// It is immutable and safe for concurrent use.
type Token struct {
	redacted
	value *string
}

// NewToken makes a token from r, or from crypto/rand if r is nil: 114 bits, of which 83 are secret.
func NewToken(r io.Reader) (Token, error) {
	if r == nil {
		r = rand.Reader
	}

	text := make([]byte, tokenIDLen+1+tokenSecretLen)

	for i := range text {
		if i == tokenIDLen {
			text[i] = '.'

			continue
		}

		// rand.Int rejects instead of reducing, so that all characters are equally likely.
		n, err := rand.Int(r, big.NewInt(int64(len(tokenAlphabet))))
		if err != nil {
			return Token{}, fmt.Errorf("make token: %w", err)
		}

		text[i] = tokenAlphabet[n.Int64()]
	}

	return ParseToken(string(text))
}

// ParseToken reads a token. The error does not quote s.
func ParseToken(s string) (Token, error) {
	if len(s) != tokenIDLen+1+tokenSecretLen {
		return Token{}, fmt.Errorf("%w; found %d characters", errToken, len(s))
	}

	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= '0' && c <= '9'
		if (i == tokenIDLen) != (c == '.') || i != tokenIDLen && !letter {
			return Token{}, fmt.Errorf("%w; wrong at character %d", errToken, i+1)
		}
	}

	return Token{value: &s}, nil
}

// IsZero reports whether there is no token.
func (t Token) IsZero() bool { return t.value == nil }

// Reveal returns the token's text; empty for the zero Token.
func (t Token) Reveal() string {
	if t.value == nil {
		return ""
	}

	return *t.value
}

// ID returns the part before the dot, which names a bootstrap token within Kubernetes and is no secret
// there; empty for the zero Token.
func (t Token) ID() string {
	if t.value == nil {
		return ""
	}

	return (*t.value)[:tokenIDLen]
}

// Secret returns the part after the dot; empty for the zero Token.
func (t Token) Secret() Text {
	if t.value == nil {
		return Text{}
	}

	return NewText((*t.value)[tokenIDLen+1:])
}

// Equal compares in constant time. The zero Token equals nothing, not even itself, so that a token that
// was never set admits nobody.
func (t Token) Equal(other Token) bool {
	if t.value == nil || other.value == nil {
		return false
	}

	return subtle.ConstantTimeCompare([]byte(*t.value), []byte(*other.value)) == 1
}

// KeySize is the length in bytes of the keys that travel as base64: cluster id and secret, and those that
// encrypt Kubernetes' secrets in etcd.
const KeySize = 32

// newKeyText makes the base64 of KeySize random bytes.
func newKeyText(r io.Reader) (string, error) {
	if r == nil {
		r = rand.Reader
	}

	key := make([]byte, KeySize)
	if _, err := io.ReadFull(r, key); err != nil {
		return "", fmt.Errorf("make secret: %w", err)
	}

	return base64.StdEncoding.EncodeToString(key), nil
}

// DecodeKeyText returns the bytes of a key in base64, whose number must be one of sizes.
//
// It reads the standard alphabet, which the public client writes, and the one for URLs.
// The error does not quote s.
func DecodeKeyText(s string, sizes ...int) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which encoding/base64 would pass over
		return nil, errors.New("not base64: it has line breaks")
	}

	key, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		var errURL error
		if key, errURL = base64.URLEncoding.DecodeString(s); errURL != nil {
			return nil, fmt.Errorf("not base64: %w", err)
		}
	}

	for _, size := range sizes {
		if len(key) == size {
			return key, nil
		}
	}

	return nil, fmt.Errorf("want %s bytes in base64; found %d", oneOf(sizes), len(key))
}

func oneOf(sizes []int) string {
	text := ""

	for i, size := range sizes {
		switch {
		case i == 0:
		case i == len(sizes)-1:
			text += " or "
		default:
			text += ", "
		}

		text += fmt.Sprint(size)
	}

	return text
}
