package config

import (
	"slices"
	"strings"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/successor"
	"talos.internal/config/sysdoc"
)

// Examine reads a config and reports all there is to say about it on a machine in mode: problems of each document, of
// the documents together, and notes on what is accepted and not acted on. The result is sorted by place. Unlike [Load] it goes
// on after errors, so that one run finds them all.
func Examine(file string, data []byte, mode schema.Mode) schema.Report {
	var report, together schema.Report
	c := load(file, data, &report)
	c.check(mode, &together)
	wrong := report.Of(schema.Error)
	for _, p := range together {
		if p.Severity != schema.Error || !concerns(wrong, p) {
			report.Add(p)
		}
	}
	report.Sort()
	return report
}

// concerns reports whether p is about a place where something is wrong already, or about the object that holds it: what the
// documents say together may only follow from that. A problem of a whole section, such as machine, is one of its own.
func concerns(wrong schema.Report, p schema.Problem) bool {
	return strings.ContainsAny(p.Path, ".[") && slices.ContainsFunc(wrong, func(w schema.Problem) bool {
		return w.Path != "" && w.Document == p.Document && (schema.Within(p.Path, w.Path) || schema.Within(w.Path, p.Path))
	})
}

// Check reports what the documents of c say together on a machine in mode: errors, warnings and notes, sorted by place.
func (c *Config) Check(mode schema.Mode) schema.Report {
	var report schema.Report
	c.check(mode, &report)
	report.Sort()
	return report
}

func (c *Config) check(mode schema.Mode, report *schema.Report) {
	own := &schema.Check{Set: c.set, Mode: mode, Role: c.Role(), Report: report}
	rootdoc.Check(own)
	checkRole(own)
	if root := c.Root(); root != nil {
		successor.Conflicts(own)
	}
	effective := &schema.Check{Set: c.Effective(), Mode: mode, Role: c.Role(), Report: report}
	if report.Err() == nil {
		// A converted document repeats the rules of the root document's own fields: they are run for what only it has.
		for _, e := range effective.Set {
			if e.From != "" {
				schema.Validate(e.Value, effective.Reporter(e))
			}
		}
	}
	kubedoc.Check(effective)
	netdoc.Check(effective)
	blockdoc.Check(effective)
	sysdoc.Check(effective)
	checkMode(effective)
	checkVerification(effective)
	notePending(effective)
}

// checkRole reports documents that only control-plane nodes may have.
func checkRole(c *schema.Check) {
	if c.Role != schema.Worker {
		return
	}
	for _, e := range c.Set {
		if k, ok := Registry().Kind(e.Value.DocumentKind()); ok && k.ControlPlaneOnly {
			c.Reporter(e).Hintf("remove it from the worker's config", "only control-plane nodes have a %s", k.Name)
		}
	}
}

// checkMode reports what the mode needs or does not allow.
func checkMode(c *schema.Check) {
	switch c.Mode {
	case schema.Container:
		checkContainer(c)
	case schema.Metal:
		if _, ok := schema.Find[*sysdoc.UnattendedInstallConfig](c.Set); !ok && c.Role != "" {
			c.Report.Add(schema.Problem{
				Severity: schema.Warning, File: fileOf(c.Set), Message: "the config does not say on which disk to install",
				Hint: "a machine that runs from a disk keeps it; another one waits for an UnattendedInstallConfig",
			})
		}
	}
}

// checkContainer holds the rule of a laboratory node: names are resolved by the node's own DNS, for pods too, because what
// the container was given to resolve them by works only outside of pods. A config that does not say is taken to mean so.
func checkContainer(c *schema.Check) {
	schema.Each(c, func(d *netdoc.ResolverConfig, r *schema.Reporter) {
		if h := d.HostDNS; h != nil && (!h.Enabled || !h.ForwardKubeDNSToHost) {
			r.At("hostDNS").Hintf("set hostDNS: {enabled: true, forwardKubeDNSToHost: true}, or leave it out",
				"a machine in a container needs host DNS, and CoreDNS to forward to it")
		}
	})
}

// checkVerification warns of what rules for signatures do not do.
func checkVerification(c *schema.Check) {
	rules := false
	schema.Each(c, func(d *sysdoc.ImageVerificationConfig, r *schema.Reporter) {
		rules = rules || len(d.Rules) > 0
		for i, rule := range d.Rules {
			if rule.Keyless != nil {
				r.At("rules").Item(i).At("keyless").Warnf("give a publicKey",
					"signatures by identity are not verified by this version: images of this rule are refused")
			}
		}
	})
	if rules {
		schema.Each(c, func(d *sysdoc.RegistryAuthConfig, r *schema.Reporter) {
			r.Warnf("give pods imagePullSecrets", "where images are verified, these credentials are used for the machine's own images and not for those of pods")
		})
	}
}

func fileOf(s schema.Set) string {
	if len(s) == 0 {
		return ""
	}
	return s[0].File
}
