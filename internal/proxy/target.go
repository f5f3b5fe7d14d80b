package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// newTarget reads the name of a node: an address or a DNS name, without a port.
func newTarget(name string, self func(key string) bool) (target, error) {
	key, loopback, err := targetKey(name)
	if err != nil {
		return target{}, err
	}

	return target{name: name, key: key, self: loopback || self(key)}, nil
}

// targetKey returns the form in which two names of one spelling are the same, and whether it means the node itself
// wherever it is. It is also what is dialled, and what the target's certificate must have: so nothing that a resolver or a
// dialler could take for something else than an address or a host gets through.
func targetKey(name string) (key string, loopback bool, err error) {
	if name == "" || len(name) > 253 {
		return "", false, fmt.Errorf("%.64q: want an address or a DNS name of 1 to 253 characters", name)
	}

	if addr, err := netip.ParseAddr(name); err == nil {
		addr = addr.Unmap()

		switch {
		case addr.Zone() != "":
			return "", false, fmt.Errorf("%.64q: an address with a zone means something on one machine only", name)
		case addr.IsUnspecified(), addr.IsMulticast():
			return "", false, fmt.Errorf("%.64q: not the address of a node", name)
		}

		return addr.String(), addr.IsLoopback(), nil
	}

	key = strings.ToLower(strings.TrimSuffix(name, "."))
	if err := checkHost(key); err != nil {
		return "", false, fmt.Errorf("%.64q: %w", name, err)
	}

	return key, key == "localhost", nil
}

// checkHost is RFC 1123 section 2.1, with underscores, which real hosts have.
func checkHost(name string) error {
	letters := false

	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return errors.New("neither an address nor a DNS name")
		}

		for _, c := range []byte(label) {
			switch {
			case c >= 'a' && c <= 'z', c == '_', c == '-':
				letters = true
			case c >= '0' && c <= '9':
			default:
				return errors.New("neither an address nor a DNS name")
			}
		}
	}

	if !letters {
		return errors.New("only digits and dots, but not an address")
	}

	return nil
}

// selfFrom returns the function that knows the names of this node. Names that cannot be targets are left out.
func selfFrom(names []string) func(key string) bool {
	keys := make(map[string]bool, len(names))

	for _, name := range names {
		if key, _, err := targetKey(name); err == nil {
			keys[key] = true
		}
	}

	return func(key string) bool { return keys[key] }
}
