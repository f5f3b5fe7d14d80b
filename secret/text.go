package secret

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Redacted is what private values print as.
const Redacted = "[redacted]"

// errMarshal makes an encoder fail instead of writing Redacted (or nothing) into a file where the value
// was meant to be.
var errMarshal = errors.New("secret: private value is not marshalled; reveal it where it is written")

// redacted, embedded, keeps a type's content out of fmt, slog and the encoders.
//
// fmt calls no methods on values in unexported fields and prints their memory instead. So a type that
// embeds redacted also keeps its content where fmt does not go: behind a pointer to a string, or behind a
// function. A pointer to a struct is no such place: fmt prints it as an address under %v, but for a verb
// that does not fit, such as %s or %t, it complains and shows the struct. The tests found that.
type redacted struct {
	_ [0]func() // not comparable: == would compare addresses, and not in constant time
}

// Format implements fmt.Formatter for every verb.
func (redacted) Format(s fmt.State, _ rune) { io.WriteString(s, Redacted) }

// String implements fmt.Stringer.
func (redacted) String() string { return Redacted }

// GoString implements fmt.GoStringer.
func (redacted) GoString() string { return Redacted }

// LogValue implements slog.LogValuer.
func (redacted) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalText always fails, for encoding/json, encoding/xml and YAML.
func (redacted) MarshalText() ([]byte, error) { return nil, errMarshal }

// GobEncode always fails.
func (redacted) GobEncode() ([]byte, error) { return nil, errMarshal }

// Text is a private string: the base64 of a key, a password. The zero Text is empty.
// It is immutable and safe for concurrent use.
type Text struct {
	redacted
	value *string
}

// NewText returns s as a private value.
func NewText(s string) Text {
	if s == "" {
		return Text{}
	}

	return Text{value: &s}
}

// Reveal returns the content.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}

	return *t.value
}

// IsZero reports whether t is empty.
func (t Text) IsZero() bool { return t.value == nil }

// Equal compares in a time that depends on the lengths only. Two empty texts are equal.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(other.Reveal())) == 1
}
