// Package kubefake is an API server of Kubernetes in memory, for tests of what calls one.
//
// It has real HTTP over TLS with client certificates, on connections in memory, so that it works in virtual time: discovery, get,
// list with a field or label selector, watch, server-side apply (as a merge: nobody's fields are taken away), merge patch with its
// check of the version, delete, evict. Objects go into namespaces that exist only. A CustomResourceDefinition becomes established, and its
// kind known, on the second time that it is read. There is no validation.
package kubefake

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"talos.internal/internal/kubeapi"
	"talos.internal/secret"
	"talos.internal/secret/kubeconfig"
)

// Server is a server. Its functions are safe for concurrent use.
type Server struct {
	// Kubeconfig is an administrator's.
	Kubeconfig string

	t  testing.TB
	ln *bufconn.Listener

	mu      sync.Mutex
	ready   bool
	lingers func(kubeapi.Object) bool
	refuse  func(method, path string) *kubeapi.StatusError
	version int
	kinds   map[string][]kind // by apiVersion
	objects map[string]kubeapi.Object
	changed chan struct{} // closed at the next change
	log     []change      // since the start
	applied []string
	texts   map[string]string // answers at paths that are no object's
}

type kind struct {
	Name       string `json:"name"`
	Kind       string `json:"kind"`
	Namespaced bool   `json:"namespaced"`
}

type change struct {
	version int
	event   string
	path    string // of the collection
	object  kubeapi.Object
}

// New starts a server, which is ready, with the namespaces default and kube-system. It ends with the test. In a test with virtual
// time it is called within the bubble.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		t: t, ln: bufconn.Listen(1 << 16), ready: true, changed: make(chan struct{}), objects: map[string]kubeapi.Object{},
		kinds: map[string][]kind{
			"v1": {
				{"namespaces", "Namespace", false}, {"configmaps", "ConfigMap", true}, {"secrets", "Secret", true},
				{"serviceaccounts", "ServiceAccount", true}, {"services", "Service", true}, {"nodes", "Node", false},
				{"nodes/status", "Node", false}, {"pods", "Pod", true},
			},
			"apps/v1": {{"deployments", "Deployment", true}, {"daemonsets", "DaemonSet", true}},
			"rbac.authorization.k8s.io/v1": {
				{"clusterroles", "ClusterRole", false}, {"clusterrolebindings", "ClusterRoleBinding", false},
				{"roles", "Role", true}, {"rolebindings", "RoleBinding", true},
			},
			"apiextensions.k8s.io/v1": {{"customresourcedefinitions", "CustomResourceDefinition", false}},
			"discovery.k8s.io/v1":     {{"endpointslices", "EndpointSlice", true}},
		},
	}
	const name = "api.test"
	now := time.Now()
	ca, err := secret.NewAuthority(secret.Kubernetes, now)
	check(t, err)
	server, err := ca.Issue(secret.Leaf{CommonName: name, SANs: secret.SANs{DNS: []string{name}}, Usage: secret.Server, TTL: 365 * 24 * time.Hour}, now)
	check(t, err)
	client, err := ca.Issue(secret.KubeAdmin(365*24*time.Hour), now)
	check(t, err)
	text, err := kubeconfig.Admin("test", "https://"+name+":6443", []*x509.Certificate{ca.Certificate()}, client).Marshal()
	check(t, err)
	s.Kubeconfig = string(text)
	ctx, cancel := context.WithCancel(context.Background())
	h := &http.Server{
		Handler: s, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Minute,
		BaseContext: func(net.Listener) context.Context { return ctx },
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{server.TLS()}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
			MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"},
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = h.ServeTLS(s.ln, "", "")
	}()
	t.Cleanup(func() {
		cancel()
		_ = h.Close()
		<-done
	})
	for _, ns := range []string{"default", "kube-system"} {
		s.Put(kubeapi.Object{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns}})
	}
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Dial connects to the server, whatever the address.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.ln.DialContext(ctx)
}

// Client returns a client, which is closed at the end of the test.
func (s *Server) Client() *kubeapi.Client {
	s.t.Helper()
	conf, err := kubeapi.ParseKubeconfig([]byte(s.Kubeconfig), "")
	check(s.t, err)
	c, err := kubeapi.New(conf, kubeapi.Options{Dial: s.Dial})
	check(s.t, err)
	s.t.Cleanup(c.Close)
	return c
}

// Define makes a kind of objects in namespaces known, as a definition does that is established.
func (s *Server) Define(apiVersion, plural, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kinds[apiVersion] = append(s.kinds[apiVersion], kind{plural, name, true})
}

// SetReady says what /readyz answers.
func (s *Server) SetReady(ready bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = ready
}

// Refuse has f answer calls first, unless it returns nil.
func (s *Server) Refuse(f func(method, path string) *kubeapi.StatusError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// SetText has the server answer a path that is no object's.
func (s *Server) SetText(path, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.texts == nil {
		s.texts = map[string]string{}
	}
	s.texts[path] = text
}

// Linger has objects for which f is true stay when they are deleted, unless that is without grace: as pods do whose machine is dead.
func (s *Server) Linger(f func(o kubeapi.Object) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lingers = f
}

// Applied returns the objects that were applied, in order, as they are named for a person.
func (s *Server) Applied() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.applied)
}

// Put makes an object what o is.
func (s *Server) Put(o kubeapi.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.kinds[o.Kind().APIVersion()] {
		if k.Kind == o.Kind().Kind && !strings.Contains(k.Name, "/") {
			s.set(collection(o.Kind().APIVersion(), o.Namespace(), k.Name), o)
			return
		}
	}
	s.t.Errorf("kubefake: no kind of %v", o)
}

// Get returns an object by its path, such as /api/v1/nodes/a; nil if there is none.
func (s *Server) Get(path string) kubeapi.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return clone(s.objects[path])
}

// Remove deletes an object by its path.
func (s *Server) Remove(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(path)
}

func collection(apiVersion, namespace, name string) string {
	prefix := "/apis/"
	if !strings.Contains(apiVersion, "/") {
		prefix = "/api/"
	}
	if namespace != "" {
		namespace = "/namespaces/" + namespace
	}
	return prefix + apiVersion + namespace + "/" + name
}

func clone(o kubeapi.Object) kubeapi.Object {
	if o == nil {
		return nil
	}
	data, _ := json.Marshal(o)
	var out kubeapi.Object
	_ = json.Unmarshal(data, &out)
	return out
}

func (s *Server) set(collection string, o kubeapi.Object) {
	o = clone(o)
	s.version++
	meta := o.Map("metadata")
	meta["resourceVersion"] = strconv.Itoa(s.version)
	path, event := collection+"/"+o.Name(), "ADDED"
	if _, ok := s.objects[path]; ok {
		event = "MODIFIED"
	}
	s.objects[path] = o
	s.tell(change{s.version, event, collection, o})
}

func (s *Server) remove(path string) {
	o, ok := s.objects[path]
	if !ok {
		return
	}
	delete(s.objects, path)
	s.version++
	o = clone(o)
	o.Map("metadata")["resourceVersion"] = strconv.Itoa(s.version)
	s.tell(change{s.version, "DELETED", path[:strings.LastIndexByte(path, '/')], o})
}

func (s *Server) tell(c change) {
	s.log = append(s.log, c)
	close(s.changed)
	s.changed = make(chan struct{})
}

// ServeHTTP implements [http.Handler].
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("watch") == "true" {
		s.watch(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	defer s.mu.Unlock()
	var refused *kubeapi.StatusError
	if s.refuse != nil {
		refused = s.refuse(r.Method, r.URL.Path)
	}
	out, err := any(nil), refused
	if refused == nil {
		out, err = s.answer(r, body)
	}
	if err != nil {
		w.WriteHeader(err.Code)
		out = map[string]any{"kind": "Status", "status": "Failure", "code": err.Code, "reason": err.Reason, "message": err.Message}
	}
	if text, ok := out.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func notFound(what string) *kubeapi.StatusError {
	return &kubeapi.StatusError{Code: http.StatusNotFound, Reason: "NotFound", Message: what + " not found"}
}

func (s *Server) answer(r *http.Request, body []byte) (any, *kubeapi.StatusError) {
	path := r.URL.Path
	if path == "/readyz" {
		if !s.ready {
			return nil, &kubeapi.StatusError{Code: http.StatusInternalServerError, Message: "[-]poststarthook failed"}
		}
		return "ok", nil
	}
	parts := strings.Split(strings.TrimPrefix(path, "/"), "/")
	if parts[0] == "apis" && len(parts) == 2 {
		return s.group(parts[1])
	}
	if text, ok := s.texts[path]; ok {
		return text, nil
	}
	apiVersion, rest := parts[1], parts[2:]
	if parts[0] == "apis" {
		apiVersion, rest = parts[1]+"/"+parts[2], parts[3:]
	}
	kinds, ok := s.kinds[apiVersion]
	if !ok {
		return nil, notFound("the requested resource")
	}
	if len(rest) == 0 {
		return map[string]any{"kind": "APIResourceList", "resources": kinds}, nil
	}
	namespace := ""
	if rest[0] == "namespaces" && len(rest) > 2 {
		namespace, rest = rest[1], rest[2:]
	}
	in := collection(apiVersion, namespace, rest[0])
	if len(rest) == 1 {
		return s.list(in, namespace == "", r), nil
	}
	if path := in + "/" + rest[1]; r.Method == http.MethodPatch {
		return s.patch(in, path, namespace, r, body)
	}
	path = in + "/" + rest[1]
	o, ok := s.objects[path]
	if !ok {
		return nil, notFound(fmt.Sprintf("%s %q", rest[0], rest[1]))
	}
	if r.Method == http.MethodDelete || r.Method == http.MethodPost && len(rest) == 3 && rest[2] == "eviction" {
		if s.lingers != nil && s.lingers(o) && r.URL.Query().Get("gracePeriodSeconds") != "0" {
			return clone(o), nil
		}
		s.remove(path)
		return map[string]any{"kind": "Status", "status": "Success"}, nil
	}
	answer := clone(o)
	if o.Kind().Kind == "CustomResourceDefinition" {
		s.establish(o)
	}
	return answer, nil
}

// group is an APIGroup (meta/v1) as far as it is needed: the first version is the preferred one.
func (s *Server) group(name string) (any, *kubeapi.StatusError) {
	for _, apiVersion := range slices.Sorted(maps.Keys(s.kinds)) {
		if group, version, ok := strings.Cut(apiVersion, "/"); ok && group == name {
			return map[string]any{"kind": "APIGroup", "name": name, "preferredVersion": map[string]any{"version": version}}, nil
		}
	}
	return nil, notFound("the requested resource")
}

func (s *Server) establish(o kubeapi.Object) {
	o["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Established", "status": "True"}}}
	names, group := o.Map("spec", "names"), kubeapi.Object(o.Map("spec"))
	for _, v := range o.Maps("spec", "versions") {
		api := fmt.Sprintf("%v/%v", group["group"], v["name"])
		k := kind{Name: fmt.Sprint(names["plural"]), Kind: fmt.Sprint(names["kind"]), Namespaced: group["scope"] == "Namespaced"}
		if !slices.Contains(s.kinds[api], k) {
			s.kinds[api] = append(s.kinds[api], k)
		}
	}
}

func (s *Server) list(in string, all bool, r *http.Request) any {
	items := []any{}
	for _, path := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[path]
		if selects(r.URL.Query(), o) && within(path[:strings.LastIndexByte(path, '/')], in, all) {
			items = append(items, o)
		}
	}
	return map[string]any{"kind": "List", "metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}, "items": items}
}

// within reports whether a collection is the one that is asked for, or one of its namespaces.
func within(collection, asked string, all bool) bool {
	if collection == asked {
		return true
	}
	if !all {
		return false
	}
	before, after, ok := strings.Cut(collection, "/namespaces/")
	_, resource, ok2 := strings.Cut(after, "/")
	return ok && ok2 && before+"/"+resource == asked
}

func selects(q url.Values, o kubeapi.Object) bool {
	if key, value, ok := strings.Cut(q.Get("fieldSelector"), "="); ok && key == "metadata.name" && o.Name() != value {
		return false
	}
	if key, value, ok := strings.Cut(q.Get("labelSelector"), "="); ok && o.Labels()[key] != value {
		return false
	}
	return true
}

func (s *Server) patch(in, path, namespace string, r *http.Request, body []byte) (any, *kubeapi.StatusError) {
	var patch map[string]any
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, &kubeapi.StatusError{Code: http.StatusBadRequest, Reason: "BadRequest", Message: err.Error()}
	}
	if _, ok := s.objects["/api/v1/namespaces/"+namespace]; namespace != "" && !ok {
		return nil, notFound(fmt.Sprintf("namespaces %q", namespace))
	}
	o, ok := s.objects[path]
	if r.Header.Get("Content-Type") == "application/apply-patch+yaml" {
		if !ok {
			o = kubeapi.Object{}
		}
		if r.URL.Query().Get("fieldManager") == "" {
			return nil, &kubeapi.StatusError{Code: http.StatusBadRequest, Message: "fieldManager is required for apply patch"}
		}
		s.applied = append(s.applied, kubeapi.Object(patch).String())
	} else if !ok {
		return nil, notFound(path)
	}
	meta, _ := patch["metadata"].(map[string]any)
	if v, ok := meta["resourceVersion"]; ok && v != o.Map("metadata")["resourceVersion"] {
		return nil, &kubeapi.StatusError{Code: http.StatusConflict, Reason: "Conflict", Message: "the object has been modified"}
	}
	o = clone(o)
	merge(o, patch)
	if r.URL.Query().Get("dryRun") == "" {
		s.set(in, o)
		o = s.objects[path]
	}
	return o, nil
}

// merge is RFC 7386.
func merge(into, patch map[string]any) {
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(into, k)
		case map[string]any:
			m, ok := into[k].(map[string]any)
			if !ok {
				m = map[string]any{}
				into[k] = m
			}
			merge(m, v)
		default:
			into[k] = v
		}
	}
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	from, _ := strconv.Atoi(q.Get("resourceVersion"))
	all := !strings.Contains(r.URL.Path, "/namespaces/")
	end := time.NewTimer(5 * time.Minute)
	defer end.Stop()
	encoder := json.NewEncoder(w)
	for {
		s.mu.Lock()
		refuse, changed := s.refuse, s.changed
		var news []change
		for _, c := range s.log {
			if c.version > from && within(c.path, r.URL.Path, all) && selects(q, c.object) {
				news = append(news, c)
			}
		}
		s.mu.Unlock()
		if refuse != nil {
			if err := refuse("WATCH", r.URL.Path); err != nil {
				w.WriteHeader(err.Code)
				return
			}
		}
		for _, c := range news {
			from = c.version
			if encoder.Encode(map[string]any{"type": c.event, "object": c.object}) != nil {
				return
			}
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		select {
		case <-changed:
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		}
	}
}
