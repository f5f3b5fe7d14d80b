package kubeupgrade

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"talos.internal/config"
	"talos.internal/config/kubedoc"
	"talos.internal/config/patch"
	"talos.internal/config/reference"
	"talos.internal/config/scalar"
	"talos.internal/config/schema"
)

// component is a part of Kubernetes with an image of its own in the config.
type component string

// The components, as their static pods, their DaemonSet and their service are called.
const (
	apiServer         component = "kube-apiserver"
	controllerManager component = "kube-controller-manager"
	scheduler         component = "kube-scheduler"
	proxy             component = "kube-proxy"
	kubelet           component = "kubelet"
)

// place is where a config has the image of a component: a kind of document or, in the older style, a part of the root document.
func (c component) place() (kind string, root [2]string) {
	switch c {
	case apiServer:
		return "KubeAPIServerConfig", [2]string{"cluster", "apiServer"}
	case controllerManager:
		return "KubeControllerManagerConfig", [2]string{"cluster", "controllerManager"}
	case scheduler:
		return "KubeSchedulerConfig", [2]string{"cluster", "scheduler"}
	case proxy:
		return "KubeProxyConfig", [2]string{"cluster", "proxy"}
	}
	return "KubeletConfig", [2]string{"machine", "kubelet"}
}

// components are all of them, in the order in which they are upgraded.
var components = []component{apiServer, controllerManager, scheduler, proxy, kubelet}

// read takes from a config the image of each component that it has and runs, and the feature gates that it sets.
func (m *machine) read(c *config.Config) {
	m.images, m.gates = map[component]string{}, map[component][]string{}
	set := c.Effective()
	take := func(of component, image scalar.Image, args scalar.Args, configuration map[string]any) {
		plain := map[string][]string{}
		for name, values := range args {
			plain[name] = values
		}
		m.images[of], m.gates[of] = string(image), gatesOf(plain, configuration)
	}
	if d, ok := schema.Find[*kubedoc.KubeAPIServerConfig](set); ok {
		take(apiServer, d.Image, d.ExtraArgs, nil)
		m.port = d.APIPortOrDefault()
	}
	if d, ok := schema.Find[*kubedoc.KubeControllerManagerConfig](set); ok && d.EnabledOrDefault() {
		take(controllerManager, d.Image, d.ExtraArgs, nil)
	}
	if d, ok := schema.Find[*kubedoc.KubeSchedulerConfig](set); ok && d.EnabledOrDefault() {
		take(scheduler, d.Image, d.ExtraArgs, nil)
	}
	if d, ok := schema.Find[*kubedoc.KubeProxyConfig](set); ok && d.EnabledOrDefault() {
		take(proxy, d.Image, d.ExtraArgs, d.Config)
	}
	if d, ok := schema.Find[*kubedoc.KubeletConfig](set); ok {
		take(kubelet, d.Image, d.ExtraArgs, d.Config)
	}
}

// withImage returns the config with another image of a component.
func withImage(c *config.Config, of component, image string) (*config.Config, error) {
	kind, root := of.place()
	text := fmt.Sprintf("%s:\n  %s:\n    image: %q\n", root[0], root[1], image)
	for _, d := range c.Documents() {
		if d.Value.DocumentKind() == kind {
			text = fmt.Sprintf("apiVersion: v1alpha1\nkind: %s\nimage: %q\n", kind, image)
		}
	}
	p, err := patch.Parse("image of "+string(of), []byte(text))
	if err != nil {
		return nil, err
	}
	return c.Patch(p)
}

// explained returns the config with comments that explain its fields, and with examples of those that it lacks.
func explained(c *config.Config, docs, examples bool) (*config.Config, error) {
	if !docs && !examples {
		return c, nil
	}
	var all []*yaml.Node
	for _, e := range c.Documents() {
		n := schema.Clone(e.Node)
		if kind, ok := config.KindOf(e.Value); ok {
			reference.Annotate(n, kind, docs, examples)
		}
		all = append(all, n)
	}
	data, err := schema.Encode(all...)
	if err != nil {
		return nil, err
	}
	return config.Load("", data)
}

// machine is what is known of a machine.
type machine struct {
	target, name string // name is for people
	nodename     string // in Kubernetes; "" if it has no Node
	controlPlane bool
	images       map[component]string   // as its config has them
	gates        map[component][]string // the feature gates that its config sets
	port         uint16                 // of its API server
	// running is the version of the API server, if it answered.
	running string
}

// request is what a person wants.
type request struct {
	from, to string // from may be "", which is what is there
	images   map[component]string
	kubelets bool
	pull     bool
}

// kind says what a step does.
type kind int

// The kinds of steps, in their order.
const (
	pull      kind = iota // have the machine fetch an image
	roll                  // give the machine another image of a static pod, and wait for the pod
	record                // give the machine another image of kube-proxy, which its manifests then have
	manifests             // bring the objects of the manifests up to date
	renew                 // give the machine another image of kubelet, and wait for the Node
)

// step is a step of an upgrade.
type step struct {
	kind    kind
	machine int // in plan.machines; -1 if it is for none
	of      component
	image   string
	changed bool // the config does not have it yet
}

// plan is what an upgrade does.
type plan struct {
	from, to version
	machines []machine
	images   map[component]string // the new ones; of all machines
	steps    []step
}

// text says what a step does.
func (p plan) text(s step) string {
	name := ""
	if s.machine >= 0 {
		name = p.machines[s.machine].name
	}
	already := ""
	if !s.changed {
		already = " (its config has it already)"
	}
	switch s.kind {
	case pull:
		return fmt.Sprintf("%s: fetch %s", name, s.image)
	case roll:
		return fmt.Sprintf("%s: %s to %s%s", name, s.of, s.image, already)
	case record:
		return fmt.Sprintf("%s: %s in the config to %s%s", name, s.of, s.image, already)
	case renew:
		return fmt.Sprintf("%s: kubelet to %s%s", name, s.image, already)
	}
	return "bring the manifests up to date"
}

// newPlan decides what to do, or why not.
func newPlan(machines []machine, r request) (*plan, error) {
	to, err := parseVersion(r.to)
	if err != nil {
		return nil, fmt.Errorf("--to: %w", err)
	}
	p := &plan{to: to, machines: machines, images: map[component]string{}}
	if p.from, err = fromOf(machines, r.from); err != nil {
		return nil, err
	}
	if err := checkPath(p.from, to); err != nil {
		return nil, err
	}
	var problems []error
	for _, m := range machines {
		have, err := parseVersion(tagOf(m.images[kubelet]))
		if err != nil {
			continue // it does not say
		}
		problems = append(problems, checkKubelet(m.name, have, to, r.kubelets))
	}
	problems = append(problems, checkGates(machines, p.from, to)...)
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	newImage := func(m machine, c component) string {
		repository := repositoryOf(m.images[c])
		if given := r.images[c]; given != "" {
			if tagOf(given) != "" || strings.Contains(given, "@") {
				return given
			}
			repository = given
		}
		return repository + ":" + to.String()
	}
	add := func(k kind, i int, c component) {
		m := machines[i]
		have, ok := m.images[c]
		if !ok {
			return
		}
		want := newImage(m, c)
		if c == proxy {
			p.images[proxy] = want
		}
		if k == pull && slices.ContainsFunc(p.steps, func(s step) bool { return s.machine == i && s.image == want }) {
			return
		}
		p.steps = append(p.steps, step{kind: k, machine: i, of: c, image: want, changed: have != want})
	}
	control := []component{apiServer, controllerManager, scheduler}
	proxied := slices.IndexFunc(machines, func(m machine) bool { return m.controlPlane && m.images[proxy] != "" })
	if r.pull {
		for i, m := range machines {
			for _, c := range control {
				if m.controlPlane {
					add(pull, i, c)
				}
			}
			if proxied >= 0 { // which runs everywhere, and is in the config of the control plane
				want := newImage(machines[proxied], proxy)
				p.steps = append(p.steps, step{kind: pull, machine: i, of: proxy, image: want, changed: machines[proxied].images[proxy] != want})
			}
			if r.kubelets {
				add(pull, i, kubelet)
			}
		}
		p.steps = slices.DeleteFunc(p.steps, func(s step) bool { return !s.changed })
	}
	for _, c := range control {
		for i, m := range machines {
			if m.controlPlane {
				add(roll, i, c)
			}
		}
	}
	for i, m := range machines {
		if m.controlPlane {
			add(record, i, proxy)
		}
	}
	p.steps = append(p.steps, step{kind: manifests, machine: -1, changed: true})
	if r.kubelets {
		for i := range machines {
			add(renew, i, kubelet)
		}
	}
	return p, nil
}

// fromOf returns the version that Kubernetes has now: the lowest of the API servers, in their configs and as they answer. An upgrade
// that was interrupted thus begins where it began.
func fromOf(machines []machine, given string) (version, error) {
	if given != "" {
		v, err := parseVersion(given)
		if err != nil {
			return v, fmt.Errorf("--from: %w", err)
		}
		return v, nil
	}
	var lowest version
	found := false
	for _, m := range machines {
		for _, text := range []string{tagOf(m.images[apiServer]), m.running} {
			v, err := parseVersion(text)
			if err != nil || !m.controlPlane {
				continue
			}
			if !found || v.compare(lowest) < 0 {
				lowest, found = v, true
			}
		}
	}
	if !found {
		return lowest, errors.New("no API server says which version it is; say it by --from")
	}
	return lowest, nil
}

// deprecated is a kind of objects, and the minor version that does not serve it any more.
type deprecated struct {
	group, version, resource string
	removed                  int
}

// removedAPIs reads from the metrics of an API server which APIs were asked for that a version does not have any more. The server counts
// them itself since its start: apiserver_requested_deprecated_apis (Kubernetes, "Metrics Reference").
func removedAPIs(metrics string, to version) []deprecated {
	const name = "apiserver_requested_deprecated_apis{"
	var out []deprecated
	for line := range strings.Lines(metrics) {
		labels, ok := strings.CutPrefix(line, name)
		if !ok {
			continue
		}
		labels, value, _ := strings.Cut(labels, "}")
		if strings.TrimSpace(value) == "0" {
			continue
		}
		var d deprecated
		for part := range strings.SplitSeq(labels, ",") {
			key, text, _ := strings.Cut(part, "=")
			text = strings.Trim(text, `"`)
			switch key {
			case "group":
				d.group = text
			case "version":
				d.version = text
			case "resource":
				d.resource = text
			case "removed_release":
				if _, err := fmt.Sscanf(text, "1.%d", &d.removed); err != nil {
					d.removed = 0
				}
			}
		}
		if d.removed > 0 && d.removed <= to.minor {
			out = append(out, d)
		}
	}
	return out
}

// String names it for a person.
func (d deprecated) String() string {
	name := d.version
	if d.group != "" {
		name = d.group + "/" + d.version
	}
	return fmt.Sprintf("%s of %s, which v1.%d does not serve any more", d.resource, name, d.removed)
}
