package configctrl

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// maxUserdata is how long a config may be after it was expanded. The largest ones, with the manifests of a whole platform in them,
// have a few MiB; the limit keeps a damaged archive from taking all memory.
const maxUserdata = 32 << 20

// decodeUserdata returns the text that the platform gave, empty if it gave none. It is base64, and may be compressed with gzip
// (contract.md, section 2.8).
func decodeUserdata(value string) (string, error) {
	if strings.TrimSpace(value) == "" {
		return "", nil
	}
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
	if err != nil {
		return "", fmt.Errorf("decode user data: %w; it has to be base64", err)
	}
	if !bytes.HasPrefix(b, []byte{0x1f, 0x8b}) { // RFC 1952, section 2.3.1
		return string(b), nil
	}
	text, err := expand(b, maxUserdata)
	if err != nil {
		return "", fmt.Errorf("expand user data: %w", err)
	}
	return text, nil
}

// expand undoes gzip, up to limit bytes.
func expand(b []byte, limit int64) (string, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(z, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(text)) > limit {
		return "", fmt.Errorf("it is longer than %d bytes", limit)
	}
	return string(text), nil
}
