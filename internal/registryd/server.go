package registryd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Address is where a node serves its image cache.
const Address = "127.0.0.1:3172"

// Server serves image caches. It is an http.Handler; use [New].
type Server struct {
	caches []*Cache
	log    *slog.Logger
}

// New returns a server of the caches in dirs, which are searched in this order. A directory that is not there has nothing, and
// may come later. What is wrong with a cache is written to log.
func New(log *slog.Logger, dirs ...string) *Server {
	s := &Server{log: log}
	for _, d := range dirs {
		s.caches = append(s.caches, Open(d))
	}
	return s
}

// Serve serves on l until ctx ends, which is no error, and closes l. Requests under way then have two seconds.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the image cache on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		_ = srv.Close()
	}
	<-done
	return nil
}

// ServeHTTP answers GET and HEAD of /v2/, /v2/NAME/manifests/REFERENCE and /v2/NAME/blobs/DIGEST
// (OCI distribution specification 1.1, "Pull"). The query ns is the registry that is meant; without it NAME begins with it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		s.refuse(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "the image cache can only be read")
		return
	}
	q, err := parse(r.URL.Path, r.URL.Query().Get("ns"))
	if err != nil {
		s.refuse(w, http.StatusNotFound, "NAME_UNKNOWN", err.Error())
		return
	}
	switch {
	case q.ping:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, "{}")
	case q.manifest:
		s.manifest(w, r, q)
	default:
		s.blob(w, r, q)
	}
}

// query is what a request asks for.
type query struct {
	ping       bool
	manifest   bool
	repository string        // with the registry
	tag        string        // of a manifest
	digest     digest.Digest // of a blob, or a manifest without tag
}

// parse understands the path of a request. Everything that is not a repository, a tag and a digest as the specifications have them
// is an error.
func parse(path, registry string) (query, error) {
	rest, ok := strings.CutPrefix(path, "/v2/")
	if path == "/v2" || ok && rest == "" {
		return query{ping: true}, nil
	}
	if !ok {
		return query{}, fmt.Errorf("%q: only the API below /v2/ is served", path)
	}
	var q query
	var name, ref string
	if i := strings.LastIndex(rest, "/manifests/"); i >= 0 {
		q.manifest, name, ref = true, rest[:i], rest[i+len("/manifests/"):]
	} else if i := strings.LastIndex(rest, "/blobs/"); i >= 0 {
		name, ref = rest[:i], rest[i+len("/blobs/"):]
	} else {
		return query{}, fmt.Errorf("%q: only manifests and blobs are served", path)
	}
	if registry != "" {
		name = registry + "/" + name
	}
	named, err := reference.ParseNamed(name) // refuses what is not in its full form
	if err != nil || !reference.IsNameOnly(named) {
		return query{}, fmt.Errorf("%q is no repository", name)
	}
	q.repository = named.Name()
	if d, err := digest.Parse(ref); err == nil {
		q.digest = d
		return q, nil
	}
	tagged, err := reference.WithTag(named, ref)
	if !q.manifest || err != nil {
		return query{}, fmt.Errorf("%q is no tag and no digest", ref)
	}
	q.tag = tagged.Tag()
	return q, nil
}

func (s *Server) manifest(w http.ResponseWriter, r *http.Request, q query) {
	d, mediaType := q.digest, ""
	if q.tag != "" {
		desc, ok := s.lookup(q.repository + ":" + q.tag)
		if !ok {
			s.refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("the image cache has no %s:%s", q.repository, q.tag))
			return
		}
		d, mediaType = desc.Digest, desc.MediaType
	}
	f, info := s.open(w, q.repository, d, "MANIFEST_UNKNOWN")
	if f == nil {
		return
	}
	defer func() { _ = f.Close() }()
	if mediaType == "" {
		mediaType = mediaTypeOf(f)
		if mediaType == "" {
			s.refuse(w, http.StatusNotFound, "MANIFEST_UNKNOWN", fmt.Sprintf("%s is no manifest", d))
			return
		}
	}
	send(w, r, f, info, d, mediaType)
}

func (s *Server) blob(w http.ResponseWriter, r *http.Request, q query) {
	f, info := s.open(w, "", q.digest, "BLOB_UNKNOWN")
	if f == nil {
		return
	}
	defer func() { _ = f.Close() }()
	send(w, r, f, info, q.digest, "application/octet-stream")
}

func (s *Server) lookup(ref string) (imagespec.Descriptor, bool) {
	for _, c := range s.caches {
		d, err := c.Lookup(ref)
		if err == nil {
			return d, true
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("cannot look into the image cache", "dir", c.dir, "image", ref, "error", err)
		}
	}
	return imagespec.Descriptor{}, false
}

// open opens a blob of the first cache that has it whole. Otherwise it has answered, and returns nil.
func (s *Server) open(w http.ResponseWriter, repository string, d digest.Digest, code string) (*os.File, fs.FileInfo) {
	reason := fmt.Sprintf("the image cache has no %s", d)
	for _, c := range s.caches {
		f, info, err := c.Blob(repository, d)
		if err == nil {
			return f, info
		}
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("a blob of the image cache is not used", "dir", c.dir, "error", err)
			reason = err.Error()
		}
	}
	s.refuse(w, http.StatusNotFound, code, reason)
	return nil, nil
}

// mediaTypeOf returns what a manifest or an index says that it is, empty if it is none of them, and leaves f at its beginning.
func mediaTypeOf(f io.ReadSeeker) string {
	b, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if _, e := f.Seek(0, io.SeekStart); err != nil || e != nil || len(b) > maxIndex {
		return ""
	}
	var m struct {
		MediaType string            `json:"mediaType"`
		Manifests []json.RawMessage `json:"manifests"`
		Layers    []json.RawMessage `json:"layers"`
	}
	switch err := json.Unmarshal(b, &m); {
	case err != nil:
		return ""
	case m.MediaType != "":
		return m.MediaType
	case m.Manifests != nil:
		return imagespec.MediaTypeImageIndex
	case m.Layers != nil:
		return imagespec.MediaTypeImageManifest
	}
	return ""
}

// send sends a file, or the ranges of it that r asks for.
func send(w http.ResponseWriter, r *http.Request, f io.ReadSeeker, info fs.FileInfo, d digest.Digest, mediaType string) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	http.ServeContent(w, r, "", info.ModTime(), f)
}

// refuse answers with an error in the form of the distribution specification.
func (s *Server) refuse(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []map[string]string{{"code": code, "message": message}}})
}
