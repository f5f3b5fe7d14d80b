package platform

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"talos.internal/internal/netconf"
	"talos.internal/internal/sys/proc"
)

// shelf are media in memory: which label is there from when on, with which files.
type shelf struct {
	begin time.Time
	media map[string]medium
}

type medium struct {
	after time.Duration
	files map[string]string
	err   error
}

func (s *shelf) Read(labels []string, names ...string) (map[string][]byte, error) {
	for _, l := range labels {
		m, ok := s.media[l]
		if !ok || time.Since(s.begin) < m.after {
			continue
		}
		out := map[string][]byte{}
		for _, n := range names {
			if text, ok := m.files[n]; ok {
				out[n] = []byte(text)
			}
		}
		return out, m.err
	}
	return nil, fs.ErrNotExist
}

// web answers by the URL: with the text, or with the status that it is.
type web map[string]string

func (w web) RoundTrip(r *http.Request) (*http.Response, error) {
	text, ok := w[r.URL.String()]
	status := http.StatusOK
	switch {
	case !ok:
		return nil, fmt.Errorf("dial %s: no route to host", r.URL.Host)
	case text == "404":
		status = http.StatusNotFound
	}
	return &http.Response{StatusCode: status, Status: fmt.Sprint(status), Body: io.NopCloser(strings.NewReader(text)), Request: r}, nil
}

func params(t *testing.T, line string) []proc.Param {
	t.Helper()
	p, err := proc.ParseCmdline(strings.NewReader(line))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func zipped(t *testing.T, kind, text string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&b)
	if kind == "zstd" {
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func base(text string) string { return base64.StdEncoding.EncodeToString([]byte(text)) }

const config = "version: v1alpha1\n"

func TestTheConfigIsWhereTheCommandLineSays(t *testing.T) {
	dmi := proc.DMI{UUID: "4C4C4544-0042", Serial: "S 1"}
	seed := map[string]medium{"cidata": {files: map[string]string{userFile: config}}}
	long := base(zipped(t, "zstd", config))
	for _, tc := range []struct {
		name   string
		line   string
		serial string
		media  map[string]medium
		web    web
		from   string // the source that has it
		told   string // what was told meanwhile
		err    string
		took   time.Duration
	}{
		{name: "nothing anywhere", took: seedWait},
		{name: "a seed disk", media: seed, from: "the nocloud seed"},
		{name: "a seed disk with capitals", media: map[string]medium{"CIDATA": seed["cidata"]}, from: "the nocloud seed"},
		{name: "a seed disk that comes late", media: map[string]medium{"cidata": {after: 2 * time.Second, files: seed["cidata"].files}}, from: "the nocloud seed", took: 2 * time.Second},
		{name: "a seed disk that comes too late", media: map[string]medium{"cidata": {after: time.Minute, files: seed["cidata"].files}}, took: seedWait},
		{name: "a seed disk without a config", media: map[string]medium{"cidata": {}}},
		{name: "a seed disk for another system", media: map[string]medium{"cidata": {files: map[string]string{userFile: "#cloud-config\nusers: []\n"}}}, err: "takes a machine config"},
		{name: "a seed disk that cannot be read", media: map[string]medium{"cidata": {err: errors.New("input/output error")}}, err: "input/output error", took: seedWait},
		{name: "a seed server", serial: "ds=nocloud-net;s=http://10.0.0.1/seed;h=a", web: web{"http://10.0.0.1/seed/user-data": config}, from: "the nocloud seed", took: seedWait},
		{name: "a URL", line: "talos.config=https://a/${uuid}?m=${mac}&s=${serial}", web: web{"https://a/4c4c4544-0042?m=52%3A54%3A00&s=S+1": config}, from: "https://a/${uuid}?m=${mac}&s=${serial}"},
		{name: "a URL, compressed", line: "talos.config=http://a/", web: web{"http://a/": zipped(t, "gzip", config)}, from: "http://a/"},
		{name: "the last URL holds", line: "talos.config=http://b/ talos.config=http://a/", web: web{"http://a/": config}, from: "http://a/"},
		{name: "a URL that does not answer", line: "talos.config=http://a/", err: "long enough", told: "no route to host", took: time.Minute},
		{name: "a URL that is not there", line: "talos.config=http://a/", web: web{"http://a/": "404"}, err: "long enough", told: "the server answers 404", took: time.Minute},
		{name: "an empty answer", line: "talos.config=http://a/", web: web{"http://a/": " "}, err: "long enough", told: "the answer is empty", took: time.Minute},
		{name: "a variable that there is not", line: "talos.config=http://a/${x}", err: "long enough", told: "there is no variable ${x}", took: time.Minute},
		{name: "a variable that is not known yet", line: "talos.config=http://a/${hostname}", err: "long enough", told: "${hostname} is not known yet", took: time.Minute},
		{name: "no URL", line: "talos.config=ftp://a/", err: "http:// or https://"},
		{name: "a medium", line: "talos.config=metal-iso", media: map[string]medium{"metal-iso": {after: 5 * time.Second, files: map[string]string{"config.yaml": config}}}, from: "the medium metal-iso", told: "no medium has the label", took: 5 * time.Second},
		{name: "a medium without the file", line: "talos.config=metal-iso", media: map[string]medium{"metal-iso": {}}, err: "long enough", told: "has no file config.yaml", took: time.Minute},
		{name: "none", line: "talos.config=none", media: seed},
		{name: "early", line: "talos.config.early=" + base(config), from: "the kernel's command line, talos.config.early"},
		{name: "inline in two parts", line: "talos.config=none talos.config.inline=" + long[:8] + " talos.config.inline=" + long[8:], from: "the kernel's command line, talos.config.inline"},
		{name: "inline, damaged", line: "talos.config.early=!", err: "has to be base64"},
		{name: "inline, cut off", line: "talos.config.early=" + base(zipped(t, "zstd", config)[:12]), err: "decode talos.config.early="},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				settled := make(chan struct{})
				close(settled)
				d := dmi
				if tc.serial != "" {
					d.Serial = tc.serial
				}
				p := New(Options{
					Params: params(t, tc.line), DMI: d, Embedded: filepath.Join(t.TempDir(), "none"), Settled: settled,
					Media: &shelf{time.Now(), tc.media}, Client: &http.Client{Transport: tc.web},
					MAC: func() string { return "52:54:00" }, Hostname: func() string { return "" },
				})
				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("long enough"))
				defer cancel()
				begin := time.Now()
				told := ""
				from, text := "", ""
				var err error
				for _, s := range p.Sources() {
					text, err = s.Read(ctx, func(err error) { told += err.Error() + "\n" })
					if text != "" || err != nil {
						from = s.Name
						break
					}
				}
				if tc.err != "" {
					if err == nil || !strings.Contains(err.Error(), tc.err) {
						t.Errorf("Read() = %v; want an error with %q", err, tc.err)
					}
				} else if err != nil || from != tc.from || (text != "") != (tc.from != "") || text != "" && text != config {
					t.Errorf("Read() = %q from %q, %v; want the config from %q", text, from, err, tc.from)
				}
				if !strings.Contains(told, tc.told) {
					t.Errorf("told %q; want %q in it", told, tc.told)
				}
				if took := time.Since(begin); took < tc.took || took > tc.took+3*time.Second {
					t.Errorf("it took %v; want %v", took, tc.took)
				}
			})
		})
	}
}

func TestAConfigCanBeBuiltIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := New(Options{Embedded: file}).Sources()[0].Read(t.Context(), nil)
	if got != config || err != nil {
		t.Errorf("Read() = %q, %v", got, err)
	}
}

func TestTheSeedSaysWhatItKnowsOfTheNetwork(t *testing.T) {
	for _, tc := range []struct {
		name, serial string
		media        map[string]medium
		want         netconf.Seed
	}{
		{"none", "", nil, netconf.Seed{Platform: "metal"}},
		{"a disk", "", map[string]medium{"cidata": {files: map[string]string{metaFile: "m", networkFile: "n"}}}, netconf.Seed{Platform: "nocloud", MetaData: []byte("m"), NetworkConfig: []byte("n")}},
		{"a server", "ds=nocloud;h=a;s=http://b/", nil, netconf.Seed{Platform: "nocloud", MetaData: []byte("local-hostname: a\n")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := New(Options{DMI: proc.DMI{Serial: tc.serial}, Media: &shelf{time.Now(), tc.media}})
				begin := time.Now()
				got, err := p.Seed(t.Context())
				if d := cmp.Diff(tc.want, got); d != "" || err != nil {
					t.Errorf("Seed() (-want +got):\n%s, %v", d, err)
				}
				// Nobody said that the drivers are loaded, and it ends all the same.
				if took := time.Since(begin); took > settleMost+time.Second {
					t.Errorf("it took %v", took)
				}
			})
		})
	}
}

func FuzzFill(f *testing.F) {
	f.Add("http://a/${uuid}?m=${mac}&x=${")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := fill(text, func(string) (string, bool) { return "v", true })
		if err != nil || variable.MatchString(got) {
			t.Errorf("fill(%q) = %q, %v", text, got, err)
		}
		_, _ = remote(text)
		_, _ = seedServer(text)
		_, _ = userdata([]byte(text))
		_, _ = inline(keyInline, []string{text})
	})
}

func TestFilesOfAMediumAreFilesAndSmall(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "a"), []byte("x"), 0o600), os.Symlink("/etc/shadow", filepath.Join(dir, "b"))); err != nil {
		t.Fatal(err)
	}
	got, err := readFiles(dir, []string{"a", "c"})
	if d := cmp.Diff(map[string][]byte{"a": []byte("x")}, got); d != "" || err != nil {
		t.Errorf("readFiles() (-want +got):\n%s, %v", d, err)
	}
	if _, err := readFiles(dir, []string{"b"}); err == nil {
		t.Error("readFiles(a link) = nil; want an error")
	}
}
