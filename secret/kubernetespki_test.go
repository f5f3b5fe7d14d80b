package secret

import (
	"errors"
	"io/fs"
	"testing"
	"testing/fstest"
	"time"
)

// kubeadm returns /etc/kubernetes/pki as kubeadm lays it out, with other files that are none of ours.
func kubeadm(t testing.TB) fstest.MapFS {
	t.Helper()

	fsys := fstest.MapFS{
		"apiserver.crt": {Data: []byte("not read")},
		"sa.pub":        {Data: []byte("not read")},
		"sa.key":        {Data: publicClient(t, "sa.key")},
	}

	for to, from := range map[string]string{"ca": "kubernetes", "front-proxy-ca": "front-proxy", "etcd/ca": "etcd"} {
		fsys[to+".crt"] = &fstest.MapFile{Data: publicClient(t, from+".crt")}
		fsys[to+".key"] = &fstest.MapFile{Data: publicClient(t, from+".key")}
	}

	return fsys
}

func TestBundleFromKubernetesPKI(t *testing.T) {
	token := must(ParseToken("abc123.0123456789abcdef"))(t)

	b := must(BundleFromKubernetesPKI(kubeadm(t), token, testNow, seeded()))(t)
	if err := b.Validate(testNow); err != nil {
		t.Errorf("Validate: %v", err)
	}

	for name, a := range map[string]*Authority{"kubernetes": b.Kubernetes, "front-proxy": b.FrontProxy, "etcd": b.Etcd} {
		if a.Fingerprint() != publicAuthority(t, name).Fingerprint() {
			t.Errorf("authority %s is %s; want the one of the directory", name, a)
		}
	}

	if !b.ServiceAccount.Equal(must(ParseKey(publicClient(t, "sa.key")))(t)) {
		t.Error("the service account's key is not that of the directory")
	}

	if !b.BootstrapToken.Equal(token) {
		t.Error("the bootstrap token is not the given one")
	}

	if got := b.OS.Certificate().NotAfter; !got.Equal(testNow.Add(AuthorityTTL)) {
		t.Errorf("the OS authority is valid until %s; want a new one", got)
	}

	fresh := must(BundleFromKubernetesPKI(kubeadm(t), Token{}, testNow, nil))(t)
	if fresh.BootstrapToken.IsZero() || fresh.BootstrapToken.Equal(fresh.MachineToken) {
		t.Error("without a bootstrap token, none or the machine's is taken; want a new one")
	}
}

func TestBundleFromKubernetesPKINamesTheFiles(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(fstest.MapFS)
		at     time.Time
		errs   []string
		is     error
	}{
		{"missing certificate", func(f fstest.MapFS) { delete(f, "ca.crt") }, testNow, []string{"open ca.crt"}, fs.ErrNotExist},
		{"missing key", func(f fstest.MapFS) { delete(f, "etcd/ca.key") }, testNow, []string{"open etcd/ca.key"}, fs.ErrNotExist},
		{"all missing", func(f fstest.MapFS) { clear(f) }, testNow, []string{
			"ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "etcd/ca.crt", "etcd/ca.key", "sa.key",
		}, fs.ErrNotExist},
		{"public key for the private one", func(f fstest.MapFS) {
			f["sa.key"] = &fstest.MapFile{Data: block("PUBLIC KEY", []byte{1})}
		}, testNow, []string{`sa.key: want a private key in PEM; found a block "PUBLIC KEY"`}, nil},
		{"service account with Ed25519", func(f fstest.MapFS) {
			f["sa.key"] = &fstest.MapFile{Data: publicClient(t, "os.key")}
		}, testNow, []string{"sa.key: Kubernetes signs with RSA or ECDSA only"}, nil},
		{"leaf", func(f fstest.MapFS) { f["ca.crt"] = &fstest.MapFile{Data: publicClient(t, "admin.crt")} }, testNow,
			[]string{"ca.crt: the certificate (Ed25519, O=os:admin) is not that of an authority"}, nil},
		{"mixed up", func(f fstest.MapFS) { f["front-proxy-ca.key"] = f["ca.key"] }, testNow,
			[]string{"front-proxy-ca.crt and front-proxy-ca.key: the private key"}, nil},
		{"expired", func(fstest.MapFS) {}, testNow.AddDate(20, 0, 0),
			[]string{"ca.crt: the clock says", "front-proxy-ca.crt: the clock", "etcd/ca.crt: the clock"}, ErrClock},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fsys := kubeadm(t)
			tt.change(fsys)

			_, err := BundleFromKubernetesPKI(fsys, Token{}, tt.at, nil)
			wantError(t, "BundleFromKubernetesPKI", err, tt.errs...)

			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("BundleFromKubernetesPKI: %v does not wrap %v", err, tt.is)
			}
		})
	}
}
