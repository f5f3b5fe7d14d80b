package platform

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/url"
	"regexp"
	"strings"

	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/sys/proc"
)

// maxConfig is how long a config may be, also after it was expanded. The largest ones, with the manifests of a whole platform in
// them, have a few MiB.
const maxConfig = 32 << 20

// Keys of the kernel's command line.
const (
	keyConfig = "talos.config"
	keyEarly  = "talos.config.early"
	keyInline = "talos.config.inline"
)

// values returns the values of a key, in order.
func values(params []proc.Param, key string) []string {
	var out []string
	for _, p := range params {
		if p.Key == key && p.Value != "" {
			out = append(out, p.Value)
		}
	}
	return out
}

// inline decodes a config of the command line: base64 of YAML that may be compressed by zstd or gzip. A command line holds two
// kilobytes, so that the values of several parameters are one text.
func inline(key string, parts []string) (string, error) {
	text := strings.Join(parts, "")
	if text == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "", fmt.Errorf("decode %s=: %w; it has to be base64", key, err)
	}
	out, err := expand(b)
	if err != nil {
		return "", fmt.Errorf("decode %s=: %w", key, err)
	}
	return out, nil
}

// expand undoes zstd (RFC 8878) or gzip (RFC 1952), if b begins as these do.
func expand(b []byte) (string, error) {
	var r io.Reader
	switch {
	case bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderMaxMemory(maxConfig), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return "", err
		}
		defer z.Close()
		r = z
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return "", err
		}
		r = z
	default:
		return string(b), nil
	}
	text, err := io.ReadAll(io.LimitReader(r, maxConfig+1))
	if err == nil && len(text) > maxConfig {
		err = fmt.Errorf("it is longer than %d bytes", maxConfig)
	}
	return string(text), err
}

// errNotYet says that a variable has no value now and may have one later.
var errNotYet = errors.New("not known yet")

var variable = regexp.MustCompile(`\$\{[^}]*\}`)

// fill puts the values of variables into a URL. A variable that is not known is an error; one without a value is errNotYet.
func fill(text string, value func(name string) (string, bool)) (string, error) {
	var errs []error
	query := strings.IndexByte(text, '?')
	if query < 0 {
		query = len(text)
	}
	part := func(s string, escape func(string) string) string {
		return variable.ReplaceAllStringFunc(s, func(v string) string {
			v = v[2 : len(v)-1]
			got, ok := value(v)
			switch {
			case !ok:
				errs = append(errs, fmt.Errorf("there is no variable ${%s}; there are ${uuid}, ${serial}, ${mac}, ${hostname}", v))
			case got == "":
				errs = append(errs, fmt.Errorf("${%s} is %w", v, errNotYet))
			}
			return escape(got)
		})
	}
	out := part(text[:query], url.PathEscape) + part(text[query:], url.QueryEscape)
	return out, errors.Join(errs...)
}

// remote returns a URL that can be fetched.
func remote(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%q is no URL with http:// or https://", text)
	}
	return u, nil
}

// seedServer returns where the seed is that the firmware's serial number names: "ds=nocloud;s=http://10.0.0.1/seed/;h=name". It
// is empty if the number names none.
func seedServer(serial string) (base, hostname string) {
	parts := strings.Split(serial, ";")
	if kind := strings.TrimSpace(parts[0]); kind != "ds=nocloud" && kind != "ds=nocloud-net" {
		return "", ""
	}
	for _, p := range parts[1:] {
		key, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch key {
		case "s", "seedfrom":
			base = value
		case "h", "local-hostname":
			hostname = value
		}
	}
	if base != "" && !strings.HasSuffix(base, "/") {
		base += "/"
	}
	return base, hostname
}

// userdata returns the machine config in user data. That of other systems is none.
func userdata(b []byte) (string, error) {
	text, err := expand(b)
	if err != nil {
		return "", fmt.Errorf("expand the user data: %w", err)
	}
	if strings.HasPrefix(text, "#cloud-config") || strings.HasPrefix(text, "#!") {
		return "", errors.New("the user data is a cloud-config or a script; this system takes a machine config")
	}
	return text, nil
}
