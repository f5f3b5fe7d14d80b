package secret

import (
	"bytes"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func seeded() *rand.ChaCha8 { return rand.NewChaCha8([32]byte{1}) }

func TestNewToken(t *testing.T) {
	form := regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
	count := map[rune]int{}

	for range 500 {
		token := must(NewToken(nil))(t)
		if !form.MatchString(token.Reveal()) {
			t.Fatalf("NewToken() = %q; want %s", token.Reveal(), form)
		}

		for _, c := range token.Reveal() {
			count[c]++
		}
	}

	if len(count) != 37 {
		t.Errorf("500 tokens use %d characters; want 36 and the dot", len(count))
	}

	a, b := must(NewToken(seeded()))(t), must(NewToken(seeded()))(t)
	if !a.Equal(b) {
		t.Error("the same reader gives different tokens")
	}

	if _, err := NewToken(strings.NewReader("short")); err == nil {
		t.Error("NewToken of a reader that ends: error = nil")
	}
}

func TestParseToken(t *testing.T) {
	const good = "abc123.0123456789abcdef"

	for _, tt := range []struct {
		name, text string
		errs       []string
	}{
		{"good", good, nil},
		{"digits only", "123456.1234567890123456", nil},
		{"empty", "", []string{"found 0 characters"}},
		{"short", good[:22], []string{"found 22 characters"}},
		{"long", good + "0", []string{"found 24 characters"}},
		{"upper case", strings.ToUpper(good), []string{"wrong at character 1"}},
		{"dot elsewhere", "abc12.30123456789abcdef", []string{"wrong at character 6"}},
		{"two dots", "abc123.0123456789abcde.", []string{"wrong at character 23"}},
		{"no dot", "abc12300123456789abcdef", []string{"wrong at character 7"}},
		{"line break", "abc123.0123456789abcde\n", []string{"wrong at character 23"}},
		{"not ASCII", "abc123.0123456789abcdé", []string{"wrong at character 22"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := ParseToken(tt.text)
			wantError(t, "ParseToken", err, tt.errs...)

			if err != nil {
				if tt.text != "" && strings.Contains(err.Error(), tt.text) {
					t.Errorf("ParseToken: the error %q quotes the token", err)
				}

				return
			}

			if token.Reveal() != tt.text || token.ID() != tt.text[:6] || token.Secret().Reveal() != tt.text[7:] {
				t.Errorf("ParseToken(%s) = %s, %s, %s", tt.text, token.Reveal(), token.ID(), token.Secret().Reveal())
			}
		})
	}
}

func TestTokenEqual(t *testing.T) {
	parse := func(s string) Token { return must(ParseToken(s))(t) }
	a := parse("abc123.0123456789abcdef")

	for _, tt := range []struct {
		name string
		x, y Token
		want bool
	}{
		{"same", a, parse("abc123.0123456789abcdef"), true},
		{"other secret", a, parse("abc123.0123456789abcdee"), false},
		{"other identifier", a, parse("abc124.0123456789abcdef"), false},
		{"zero with a token", Token{}, a, false},
		{"token with zero", a, Token{}, false},
		{"zero admits nobody", Token{}, Token{}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.x.Equal(tt.y); got != tt.want {
				t.Errorf("Equal = %t; want %t", got, tt.want)
			}
		})
	}

	var zero Token
	if !zero.IsZero() || zero.Reveal() != "" || zero.ID() != "" || !zero.Secret().IsZero() {
		t.Error("the zero Token is more than nothing")
	}
}

func TestDecodeKeyText(t *testing.T) {
	raw := bytes.Repeat([]byte{0xff}, 32)

	for _, tt := range []struct {
		name, text string
		sizes      []int
		want       []byte
		errs       []string
	}{
		{"standard alphabet", "//////////////////////////////////////////8=", []int{32}, raw, nil},
		{"alphabet for URLs", "__________________________________________8=", []int{32}, raw, nil},
		{"16 bytes", "/////////////////////w==", []int{16, 24, 32}, raw[:16], nil},
		{"wrong size", "AAAA", []int{32}, nil, []string{"want 32 bytes in base64; found 3"}},
		{"wrong sizes", "AAAA", []int{16, 24, 32}, nil, []string{"want 16, 24 or 32 bytes"}},
		{"empty", "", []int{32}, nil, []string{"found 0"}},
		{"not base64", "secret!", []int{32}, nil, []string{"not base64"}},
		{"line break", "//////////////////////////////////////////8=\n", []int{32}, nil, []string{"line breaks"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeKeyText(tt.text, tt.sizes...)
			wantError(t, "DecodeKeyText", err, tt.errs...)

			if !slices.Equal(got, tt.want) {
				t.Errorf("DecodeKeyText(%s) = %x; want %x", tt.text, got, tt.want)
			}
		})
	}
}

func TestNewKeyTextNeedsAllItsBytes(t *testing.T) {
	text := must(newKeyText(seeded()))(t)
	if _, err := DecodeKeyText(text, KeySize); err != nil {
		t.Errorf("newKeyText() is refused: %v", err)
	}

	if _, err := newKeyText(strings.NewReader("short")); err == nil {
		t.Error("newKeyText of a reader that ends: error = nil")
	}
}
