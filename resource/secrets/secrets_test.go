package secrets

import (
	"fmt"
	"strings"
	"testing"
)

func TestKeysDoNotPrint(t *testing.T) {
	c := CertificateAndKey{Crt: []byte("certificate"), Key: []byte("SECRET")}
	k := Key{Key: []byte("SECRET")}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
		for _, v := range []any{c, &c, k, &k, EtcdRoot{EtcdCA: c}, []Key{k}} {
			s := fmt.Sprintf(verb, v)
			if strings.Contains(s, "SECRET") || strings.Contains(s, fmt.Sprintf("%x", "SECRET")) || strings.Contains(s, "83 69 67") {
				t.Errorf("Sprintf(%s) of %T = %s; it shows the key", verb, v, s)
			}
		}
	}
}
