package cli

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"

	"talos.internal/internal/cli/command"
)

// makeLayout writes an OCI image layout with images of one layer of about 5 kB each.
func makeLayout(args []string) error {
	dir := args[0]
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return err
	}
	put := func(mediaType string, content []byte) (imagespec.Descriptor, error) {
		d := digest.FromBytes(content)
		return imagespec.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(content))}, os.WriteFile(filepath.Join(blobs, d.Encoded()), content, 0o600)
	}
	index := imagespec.Index{MediaType: imagespec.MediaTypeImageIndex}
	index.SchemaVersion = 2
	for _, ref := range args[1:] {
		layer, err := put(imagespec.MediaTypeImageLayer, []byte(strings.Repeat(ref+"\n", 5000/len(ref))))
		if err != nil {
			return err
		}
		config, err := put(imagespec.MediaTypeImageConfig, []byte(`{"os":"linux","architecture":"amd64","name":"`+ref+`"}`))
		if err != nil {
			return err
		}
		m := imagespec.Manifest{MediaType: imagespec.MediaTypeImageManifest, Config: config, Layers: []imagespec.Descriptor{layer}}
		m.SchemaVersion = 2
		text, err := json.Marshal(m)
		if err != nil {
			return err
		}
		d, err := put(imagespec.MediaTypeImageManifest, text)
		if err != nil {
			return err
		}
		d.Annotations = map[string]string{imagespec.AnnotationRefName: ref}
		index.Manifests = append(index.Manifests, d)
	}
	text, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, imagespec.ImageIndexFile), text, 0o600)
}

func damageLayout(args []string) error {
	var largest string
	var size int64
	err := filepath.WalkDir(filepath.Join(args[0], "blobs"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Size() > size {
			largest, size = name, info.Size()
		}
		return err
	})
	if err != nil {
		return err
	}
	content, err := os.ReadFile(largest)
	if err != nil {
		return err
	}
	content[size/2]++
	return os.WriteFile(largest, content, 0o600)
}

func TestACacheIsServedUntilItIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	if err := makeLayout([]string{filepath.Join(dir, "cache"), "registry.example.internal/team/app:v1"}); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	defer interrupt()
	r, w := io.Pipe()
	var stderr strings.Builder
	env := command.Env{
		Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &stderr,
		Getenv: func(string) string { return "" }, Now: time.Now,
	}
	if code := Run(ctx, env, []string{"image", "cache-cert-gen", "--advertised-address", "127.0.0.1"}); code != exitOK {
		t.Fatalf("cache-cert-gen: exit code = %d, standard error %q", code, &stderr)
	}
	ended := make(chan int, 1)
	env.Stdout = w
	go func() {
		ended <- Run(ctx, env, []string{"image", "cache-serve", "--image-cache-path", "cache", "--address", "127.0.0.1:0",
			"--tls-cert-file", "tls.crt", "--tls-key-file", "tls.key", "--mirror", "registry.example.internal"})
		_ = w.Close() // never fails
	}()
	lines := bufio.NewScanner(r)
	var patch, url string
	for url == "" && lines.Scan() {
		patch += lines.Text() + "\n"
		_, url, _ = strings.Cut(lines.Text(), "url: ")
	}
	want := "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: \"registry.example.internal\"\nendpoints:\n    - url: " + url + "\n"
	if patch != want || !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Fatalf("the patch is %q; want %q", patch, want)
	}
	ca, err := os.ReadFile("ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	answer, err := client.Get(url + "/v2/team/app/manifests/v1?ns=registry.example.internal")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Errorf("the manifest: %s; want 200", answer.Status)
	}
	interrupt()
	if code := <-ended; code != exitOK || !strings.Contains(stderr.String(), "no address that machines reach this computer by") {
		t.Errorf("exit code = %d, standard error %q; want 0, and a word on the address", code, &stderr)
	}
}
