package resource

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// Base64 are bytes which YAML has as one string of base64 (RFC 4648 section 4) and protobuf as bytes.
type Base64 []byte

// MarshalText implements [encoding.TextMarshaler].
func (b Base64) MarshalText() ([]byte, error) {
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. White space is ignored.
func (b *Base64) UnmarshalText(text []byte) error {
	text = bytes.Join(bytes.Fields(text), nil)
	raw, err := base64.StdEncoding.AppendDecode(nil, text)
	if err != nil {
		return fmt.Errorf("parse base64: %w", err)
	}
	*b = raw
	return nil
}

// URL is a [url.URL] which YAML has as a string and protobuf as common.URL.
type URL struct{ url.URL }

// ParseURL returns the URL that text is. The empty text is the zero URL.
func ParseURL(text string) (URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return URL{}, err
	}
	return URL{URL: *u}, nil
}

// String returns u as text.
func (u URL) String() string { return u.URL.String() }

// MarshalText implements [encoding.TextMarshaler].
func (u URL) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (u *URL) UnmarshalText(text []byte) error {
	parsed, err := ParseURL(string(text))
	if err != nil {
		return err
	}
	*u = parsed
	return nil
}

// YAMLText is what a method MarshalYAML returns for a string of several lines: a literal block, which
// a person can read and copy. Where the block would not read back (the yaml library writes one that
// it refuses if the first line begins with a tab) it is a quoted string; text that is not UTF-8 is
// !!binary.
func YAMLText(s string) any {
	if !utf8.ValidString(s) || !strings.Contains(s, "\n") {
		return s
	}
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Style: yaml.LiteralStyle, Value: s}
	var back string
	if b, err := yaml.Marshal(n); err != nil || yaml.Unmarshal(b, &back) != nil || back != s {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
