package e2e

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"talos.internal/internal/kubeapi/kubereal"
	"talos.internal/internal/provision"
	"talos.internal/internal/sys/proc"
)

// BenchmarkKubernetes reports what docs/kube-bench.md has a table of: how long etcd and kube-apiserver take on this computer when they
// are started bare; beside it, in the same run, what a control-plane node and a worker take from the answer to "talosctl bootstrap",
// with the images on the nodes; and the memory of both a minute later. An iteration is a whole cluster, so: -benchtime 1x -count 3.
func BenchmarkKubernetes(b *testing.B) {
	var bare float64
	b.Run("bare", func(b *testing.B) {
		if err := loopback(); err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			start := time.Now()
			kubereal.StartDurable(b)
			bare = time.Since(start).Seconds()
		}
		b.ReportMetric(bare, "s-API")
	})
	b.Run("cluster", func(b *testing.B) {
		for b.Loop() {
			c := makeCluster(b, "e2e-bench-kube", 63, shape{controls: 1, workers: 1})
			c.haveImages()
			c.begin()
			c.credentials()
			since := func(what string) float64 {
				s := time.Since(c.began).Seconds()
				b.ReportMetric(s, what)
				return s
			}
			b.ReportMetric(since("s-API")/bare, "API/bare")
			api := c.api(c.control())
			c.nodesReady(api)
			since("s-nodes-Ready")
			c.available(api, "kube-system", "coredns")
			since("s-CoreDNS")
			time.Sleep(time.Minute)
			c.reflect()
			for i, role := range []string{"control-plane", "worker"} {
				m, err := memoryOf(c.nodes[i])
				if err != nil {
					b.Fatal(err)
				}
				mib := func(v uint64) float64 { return math.Round(float64(v) / (1 << 20)) }
				b.ReportMetric(mib(m.Proportional), "MiB-PSS-"+role)
				b.ReportMetric(mib(m.Anonymous), "MiB-anonymous-"+role)
				b.ReportMetric(mib(m.Resident), "MiB-RSS-"+role)
			}
		}
	})
}

// BenchmarkSixMachines reports how long three control-plane nodes and three workers take on this computer, with another network plugin in
// place of flannel and kube-proxy: from the first step of the create until all Nodes are Ready and CoreDNS is available.
func BenchmarkSixMachines(b *testing.B) {
	for b.Loop() {
		start := time.Now()
		c := makeCluster(b, "e2e-bench-six", 64, shape{controls: 3, workers: 3, control: anotherNetwork()})
		c.importProbe()
		c.begin()
		c.credentials()
		api := c.api(c.control())
		c.nodesReady(api)
		b.ReportMetric(time.Since(start).Seconds(), "s-nodes-Ready")
		c.available(api, "kube-system", "coredns")
		b.ReportMetric(time.Since(start).Seconds(), "s-CoreDNS")
	}
}

// haveImages has the images of a default cluster be on every machine, unpacked, and kubelet be running where it runs before there is a
// cluster.
func (c *kubeLab) haveImages() {
	c.t.Helper()
	list, stderr, code := c.talosctl("image", "default")
	if code != 0 {
		c.t.Fatal(stderr)
	}
	system := []string{"/etcd:", "/kubelet:"}
	for _, n := range c.nodes {
		c.wait(n.Name+" to have the images", func(context.Context) error {
			for _, image := range strings.Fields(list) {
				namespace := "cri"
				if slices.ContainsFunc(system, func(s string) bool { return strings.Contains(image, s) }) {
					namespace = "system"
				}
				if _, stderr, code := c.talosctl("-n", n.Endpoint, "image", "pull", "--namespace", namespace, image); code != 0 {
					return errors.New(strings.TrimSpace(stderr))
				}
			}
			return nil
		})
	}
	c.wait("kubelet of the control plane to run", func(context.Context) error {
		out, stderr, code := c.talosctl("-n", c.control().Endpoint, "service", "kubelet")
		if code != 0 || !strings.Contains(out, "Running") {
			return errors.New(out + stderr)
		}
		return nil
	})
}

// memoryOf is the memory of all processes of a node.
func memoryOf(n provision.Node) (sum proc.Rollup, err error) {
	all, err := processes(n)
	if err != nil {
		return sum, err
	}
	for _, p := range all {
		one, err := proc.Reader{}.Rollup(p.PID)
		if err != nil {
			continue // it ended meanwhile
		}
		sum.Resident += one.Resident
		sum.Proportional += one.Proportional
		sum.Anonymous += one.Anonymous
	}
	return sum, nil
}
