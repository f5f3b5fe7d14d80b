package secret

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite golden files")

// testNow lies within the validity of testdata/publicclient.
var testNow = time.Date(2027, 1, 15, 12, 30, 45, 0, time.UTC)

// publicClient reads a file that the public client made.
func publicClient(t testing.TB, name string) []byte {
	t.Helper()

	data, err := os.ReadFile(filepath.Join("testdata", "publicclient", name))
	if err != nil {
		t.Fatal(err)
	}

	return data
}

func publicAuthority(t testing.TB, name string) *Authority {
	t.Helper()

	return must(ParseAuthority(publicClient(t, name+".crt"), publicClient(t, name+".key")))(t)
}

// publicParts are the authorities of the public client, with tokens of no meaning.
func publicParts(t testing.TB) Parts {
	t.Helper()

	pair := func(name string) PairParts {
		return PairParts{
			Certificate: string(publicClient(t, name+".crt")),
			Key:         NewText(string(publicClient(t, name+".key"))),
		}
	}

	return Parts{
		ClusterID:         "ar/bky7Gx4JuRADpTFDT5mGQh/IPGAHOylFf7LW3Vhw=",
		ClusterSecret:     NewText("1UJIURk1lZkeK/yHQTyFj7jVOhKBlLdMEU7wLQ2GtlA="),
		BootstrapToken:    NewText("8pxg71.5h2p0vhtul7pv901"),
		SecretboxSecret:   NewText("w/DRatPv/6bXb0nE+lNG4TQB1ze7yjw8uDEvKrVRn6I="),
		MachineToken:      NewText("oveijb.frij01coon2idr5q"),
		Etcd:              pair("etcd"),
		Kubernetes:        pair("kubernetes"),
		FrontProxy:        pair("front-proxy"),
		OS:                pair("os"),
		ServiceAccountKey: NewText(string(publicClient(t, "sa.key"))),
	}
}

// must unwraps a result: must(f())(t).
func must[T any](value T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()

		if err != nil {
			t.Fatal(err)
		}

		return value
	}
}

// wantError checks that an error has all the texts; no text at all means no error.
func wantError(t *testing.T, call string, err error, texts ...string) {
	t.Helper()

	if len(texts) == 0 {
		if err != nil {
			t.Errorf("%s: error = %v; want none", call, err)
		}

		return
	}

	if err == nil {
		t.Errorf("%s: error = nil; want %q", call, texts)

		return
	}

	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error = %q; want it to contain %q", call, err, text)
		}
	}
}

// rsaKey is made once: it takes seconds.
var rsaKey = sync.OnceValues(func() (Key, error) { return GenerateKey(RSA4096) })
