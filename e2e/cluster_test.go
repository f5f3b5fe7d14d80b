package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"talos.internal/client/talosconfig"
	"talos.internal/internal/buildinfo"
	"talos.internal/internal/kubeapi"
	"talos.internal/internal/provision"
	"talos.internal/internal/vitals"
)

// What is promised of a machine that has died.
const (
	markedWithin  = 10 * time.Second // 'get members' says that it is gone
	namedWithin   = 5 * time.Second  // 'health' names it
	healthyWithin = 10 * time.Second // 'health' is content after it was forgotten
)

// TestCluster is a cluster from its create to its destroy, as a person has it: each part builds on those before.
func TestCluster(t *testing.T) {
	u := newPerson(t, "e2e-lab", "10.64.0.0/24")
	out, _ := u.must(u.create()...)
	for _, want := range []string{"PROVISIONER           native", "NETWORK CIDR          10.64.0.0/24", "KUBERNETES ENDPOINT   https://10.64.0.2:6443"} {
		if !strings.Contains(out, want) {
			t.Errorf("create shows no %q:\n%s", want, out)
		}
	}
	for _, sub := range []struct {
		name string
		test func(*person)
	}{
		{"both contexts are merged, and kubectl sees the nodes", (*person).merged},
		{"both ways to check health agree", func(u *person) { u.healthy(limit) }},
		{"a worker is added, dies, and is forgotten", (*person).forgotten},
		{"machines come, and go after their pods", (*person).drained},
		{"a worker that is reset leaves by itself", (*person).left},
		{"destroy takes the contexts away", (*person).destroyed},
	} {
		if !t.Run(sub.name, func(t *testing.T) { sub.test(u.on(t)) }) {
			break // what follows builds on it
		}
	}
}

func (u *person) worker(i int) string { return fmt.Sprintf("%s-worker-%d", u.cluster, i) }

// merged looks at the person's files, and at the nodes as kubectl prints them.
func (u *person) merged() {
	c, _, err := talosconfig.Open(filepath.Join(u.home, ".talos", "config"))
	if err != nil {
		u.t.Fatal(err)
	}
	if name, context, err := c.Lookup(""); err != nil || name != u.cluster || !slices.Equal(context.Endpoints, []string{"10.64.0.2"}) {
		u.t.Errorf("the talosconfig's context is %q, %v; want that of the cluster", name, err)
	}
	if out, err := u.kube("", "config", "current-context"); err != nil || out != "admin@"+u.cluster+"\n" {
		u.t.Errorf("the kubeconfig's context is %q, %v", out, err)
	}
	out, err := u.kube("", "get", "nodes", "-o", "wide")
	if err != nil {
		u.t.Fatal(err)
	}
	got := rows(out, "OS-IMAGE")
	nodes := rows(out, "NAME")
	if len(nodes) != 2 || len(got) != 1 {
		u.t.Errorf("kubectl get nodes -o wide:\n%s", out)
	}
	for _, name := range []string{u.cluster + "-controlplane-1", u.worker(1)} {
		if n := nodes[name]; n["STATUS"] != "Ready" || n["OS-IMAGE"] != "Talos ("+buildinfo.Version+")" {
			u.t.Errorf("%s is %q with %q; want it Ready", name, n["STATUS"], n["OS-IMAGE"])
		}
	}
	out, _ = u.must("cluster", "show")
	for name, want := range map[string]string{u.cluster + "-controlplane-1": "controlplane", u.worker(1): "worker"} {
		if n := rows(out, "NAME")[name]; n["TYPE"] != want || n["STATUS"] != "running" || n["CPU"] != "2.00" {
			u.t.Errorf("cluster show has %s as %v", name, n)
		}
	}
}

// healthy waits until the checks pass, here and on the node.
func (u *person) healthy(within time.Duration) {
	u.t.Helper()
	began := time.Now()
	out, errs, code := u.talosctl("health", "--wait-timeout", within.String())
	if code != 0 {
		u.t.Fatalf("talosctl health: exit code %d\n%s%s", code, out, errs)
	}
	u.t.Logf("health: %.1f s", time.Since(began).Seconds())
	began = time.Now()
	onNode, errs, code := u.talosctl("health", "--server", "--wait-timeout", within.String())
	if code != 0 {
		u.t.Fatalf("talosctl health --server: exit code %d\n%s%s", code, onNode, errs)
	}
	u.t.Logf("health --server: %.1f s", time.Since(began).Seconds())
	for _, name := range vitals.Names() {
		for which, text := range map[string]string{"health": out, "health --server": onNode} {
			if want := "waiting for " + name + ": OK\n"; !strings.Contains(text, want) {
				u.t.Errorf("%s did not print %q:\n%s", which, want, text)
			}
		}
	}
}

// members are the states of the members by their names.
func (u *person) members() (map[string]string, error) {
	out, errs, code := u.talosctl("get", "members")
	if code != 0 {
		return nil, fmt.Errorf("talosctl get members: %s", errs)
	}
	all := map[string]string{}
	for name, row := range rows(out, "ID") {
		all[name] = row["STATE"]
	}
	return all, nil
}

// forgotten adds a worker, kills it as a power failure does, and forgets it.
func (u *person) forgotten() {
	u.must("cluster", "node", "add")
	name := u.worker(2)
	dead := u.node(name)
	for _, refused := range [][]string{{"cluster", "forget", name}, {"members", "remove", name}} {
		if out, errs, code := u.talosctl(refused...); code != 1 || !strings.Contains(errs, "it is alive") {
			u.t.Errorf("talosctl %s: exit code %d\n%s%s; want it refused, since the machine is alive", strings.Join(refused, " "), code, out, errs)
		}
	}
	if err := syscall.Kill(dead.PID, syscall.SIGKILL); err != nil {
		u.t.Fatal(err)
	}
	died := time.Now()
	var checking sync.WaitGroup
	const wait = 12 * time.Second
	health := &said{began: died}
	checking.Go(func() {
		var errs bytes.Buffer
		code := u.start(context.Background(), health, &errs, "health", "-o", "json", "--wait-timeout", wait.String())
		if took := time.Since(died); code != 1 || took < wait || took > wait+namedWithin {
			u.t.Errorf("health with a dead machine: exit code %d after %v; want 1 after %v\n%s", code, took, wait, errs.String())
		}
		if !strings.Contains(errs.String(), name+" ("+dead.Address.String()+") does not answer") {
			u.t.Errorf("the end of health does not name %s:\n%s", name, errs.String())
		}
	})
	checking.Go(func() {
		out, errs, code := u.talosctl("health", "--server", "--wait-timeout", "6s")
		if code != 1 || !strings.Contains(errs, name) || !strings.Contains(out, name+" ("+dead.Address.String()+") does not answer") {
			u.t.Errorf("health --server with a dead machine: exit code %d\n%s%s; want it to name %s", code, out, errs, name)
		}
	})
	u.until(markedWithin-time.Since(died), "'get members' to say that "+name+" is gone", func() error {
		states, err := u.members()
		if err == nil && states[name] != "gone" {
			err = fmt.Errorf("the states are %v", states)
		}
		return err
	})
	u.t.Logf("'get members' says that it is gone after %.1f s", time.Since(died).Seconds())
	began := time.Now()
	out, _ := u.must("cluster", "show")
	if took := time.Since(began); rows(out, "NAME")[name]["STATUS"] != "stopped" || took > namedWithin {
		u.t.Errorf("cluster show took %v:\n%s; want %s stopped", took, out, name)
	}
	checking.Wait()
	named, ok := health.first(func(l saidLine) bool { return strings.HasPrefix(l.Node, name) })
	if !ok || named.After > namedWithin || named.Message == "" {
		u.t.Errorf("health names the dead machine with %+v, %t; want that within %v, with the reason", named, ok, namedWithin)
	}
	u.t.Logf("health names it after %.1f s: %s", named.After.Seconds(), named.Message)

	out, _ = u.must("cluster", "forget", name)
	u.gone(name)
	u.unlisted(name)
	u.t.Log(out)
	u.healthy(healthyWithin)
}

// gone checks that nobody in the cluster knows of a machine any more.
func (u *person) gone(name string) {
	u.t.Helper()
	states, err := u.members()
	if _, ok := states[name]; ok || err != nil {
		u.t.Errorf("the members are %v, %v; want %s not among them", states, err, name)
	}
	if out, err := u.kube("", "get", "nodes", "-o", "name"); err != nil || strings.Contains(out, name) {
		u.t.Errorf("the Nodes are %q, %v; want %s not among them", out, err, name)
	}
	if out, errs, code := u.talosctl("etcd", "members"); code != 0 || strings.Contains(out, name) {
		u.t.Errorf("the members of etcd are: %d\n%s%s", code, out, errs)
	}
}

// unlisted checks that this computer does not have a machine any more.
func (u *person) unlisted(name string) {
	u.t.Helper()
	if out, _ := u.must("cluster", "show"); strings.Contains(out, name) {
		u.t.Errorf("cluster show has %s:\n%s", name, out)
	}
}

// budgeted is four pods, of which three have to be ready at all times as far as somebody has the choice, on all workers.
const budgeted = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: default}
spec:
  replicas: 4
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 2
      topologySpreadConstraints:
      - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: ScheduleAnyway, labelSelector: {matchLabels: {app: web}}}
      containers:
      - {name: pause, image: "registry.k8s.io/pause:3.10.2"}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web, namespace: default}
spec:
  minAvailable: 3
  selector: {matchLabels: {app: web}}
`

// drained makes a second worker, under the name of the one that was forgotten, and takes it away again while pods run on it.
func (u *person) drained() {
	u.must("cluster", "scale", "--workers", "2")
	leaver := u.node(u.worker(2))
	if _, err := u.kube(budgeted, "apply", "-f", "-"); err != nil {
		u.t.Fatal(err)
	}
	on := func() (map[string]int, error) {
		out, err := u.kube("", "get", "pods", "-l", "app=web", "--field-selector", "status.phase=Running", "-o", "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}")
		all := map[string]int{}
		for line := range strings.Lines(out) {
			all[strings.TrimSpace(line)]++
		}
		return all, err
	}
	ready := u.leastReady()
	u.until(patience, "the pods to run on both workers", func() error {
		pods, err := on()
		if err == nil && (pods[u.worker(1)] != 2 || pods[u.worker(2)] != 2 || ready.now() != 4) {
			err = fmt.Errorf("they run on %v, and %d are ready", pods, ready.now())
		}
		return err
	})
	ready.reset()
	_, errs := u.must("cluster", "scale", "--workers", "1")
	least, looks := ready.stop()
	u.t.Logf("%s\nof 4 pods at least %d were ready at all of %d looks", errs, least, looks)
	if least < 3 || looks == 0 {
		u.t.Errorf("only %d pods were ready at one of %d looks while their machine went; want 3, as the budget says", least, looks)
	}
	if pods, err := on(); err != nil || pods[u.worker(1)] != 4 && pods[u.worker(1)] != 3 {
		u.t.Errorf("the pods run on %v, %v; want %s to have them", pods, err, u.worker(1))
	}
	if !strings.Contains(errs, "pods have gone") || strings.Contains(errs, "drain-timeout") {
		u.t.Errorf("scale does not say that pods have gone:\n%s", errs)
	}
	u.gone(leaver.Name)
	u.unlisted(leaver.Name)
	u.healthy(healthyWithin)
}

// left resets the last worker: it goes out of the cluster before it ends.
func (u *person) left() {
	// The pods have nowhere else to go.
	if _, err := u.kube(budgeted, "delete", "--wait=false", "-f", "-"); err != nil {
		u.t.Fatal(err)
	}
	n := u.node(u.worker(1))
	out, _ := u.must("-n", n.Address.String(), "reset")
	if !strings.Contains(out, "is off") {
		u.t.Errorf("reset says:\n%s", out)
	}
	u.gone(n.Name)
	if got := u.node(n.Name); got.Status != provision.Stopped {
		u.t.Errorf("%s is %s after its reset", n.Name, got.Status)
	}
}

// watched is the least number of pods that was ready at one of many looks.
type watched struct {
	mu           sync.Mutex
	last         int
	least, looks int
	cancel       context.CancelFunc
	looking      sync.WaitGroup
}

func (u *person) leastReady() *watched {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{cancel: cancel, least: 100}
	u.t.Cleanup(func() { w.stop() })
	api := u.api()
	w.looking.Go(func() {
		for ctx.Err() == nil {
			o, err := api.Get(ctx, kubeapi.KindOf("apps/v1", "Deployment"), "default", "web")
			if err == nil {
				n, _ := o.Map("status")["readyReplicas"].(float64)
				w.mu.Lock()
				w.last, w.least, w.looks = int(n), min(w.least, int(n)), w.looks+1
				w.mu.Unlock()
			}
			time.Sleep(100 * time.Millisecond)
		}
	})
	return w
}

func (w *watched) now() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

func (w *watched) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.least, w.looks = 100, 0
}

func (w *watched) stop() (least, looks int) {
	w.cancel()
	w.looking.Wait()
	return w.least, w.looks
}

// destroyed ends the cluster and looks at what is left of it in the person's home.
func (u *person) destroyed() {
	u.must("cluster", "destroy")
	if u.provisioned() != nil {
		u.t.Error("the cluster is there after its destroy")
	}
	c, _, err := talosconfig.Open(filepath.Join(u.home, ".talos", "config"))
	if err != nil || len(c.Contexts) != 0 || c.Context != "" {
		u.t.Errorf("the talosconfig has %v, %v; want no context", c, err)
	}
	text, err := u.kube("", "config", "view", "-o", "json")
	var kube struct {
		Contexts, Clusters, Users []any
	}
	if err = errors.Join(err, json.Unmarshal([]byte(text), &kube)); err != nil || len(kube.Contexts)+len(kube.Clusters)+len(kube.Users) != 0 {
		u.t.Errorf("the kubeconfig has %s, %v; want nothing", text, err)
	}
	if _, err := os.Stat(filepath.Join(u.home, ".talos", "clusters", u.cluster)); !errors.Is(err, os.ErrNotExist) {
		u.t.Errorf("the cluster's folder: %v; want none", err)
	}
}
