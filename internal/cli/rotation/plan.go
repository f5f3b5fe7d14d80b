package rotation

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"

	"talos.internal/config"
	"talos.internal/config/kubedoc"
	"talos.internal/config/patch"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

// subject is whose authority is replaced.
type subject int

// The subjects, in the order in which they are rotated.
const (
	machineAPI subject = iota
	kubernetes
)

// String is the subject for a person.
func (s subject) String() string {
	if s == kubernetes {
		return "Kubernetes"
	}
	return "the machine API"
}

func (s subject) kind() secret.AuthorityKind {
	if s == kubernetes {
		return secret.Kubernetes
	}
	return secret.OS
}

// phase is a part of a rotation. Each is done on all machines before the next begins, so that at no time two machines do not believe each
// other.
type phase int

// The phases.
const (
	accept phase = iota // the new authority is believed beside the old one, which still issues
	swap                // the new one issues, the old one is believed still
	drop                // the old one is believed no more
)

// text says what a phase does with a machine.
func (p phase) text(s subject, machine string) string {
	switch p {
	case accept:
		return fmt.Sprintf("%s: believe the new authority of %s too", machine, s)
	case swap:
		return fmt.Sprintf("%s: have the new authority of %s issue certificates", machine, s)
	}
	return fmt.Sprintf("%s: believe the old authority of %s no more", machine, s)
}

// trust is what a config says of an authority, in PEM.
type trust struct {
	issuing  []byte // the certificate; none on a worker whose config has documents
	key      []byte // of issuing; none on a worker
	accepted [][]byte
}

// trustOf reads what a config says.
func trustOf(s subject, c *config.Config) trust {
	var out trust
	set := c.Effective()
	if s == kubernetes {
		d, ok := schema.Find[*kubedoc.KubeAPIServerCAConfig](set)
		if !ok {
			return out
		}
		if d.IssuingCA != nil {
			out.issuing, out.key = []byte(d.IssuingCA.Cert), []byte(d.IssuingCA.Key)
		}
		for _, a := range d.AcceptedCAs {
			out.accepted = append(out.accepted, []byte(a))
		}
		return out
	}
	root, _, ok := rootdoc.Find(set)
	if !ok || root.Machine == nil {
		return out
	}
	if ca := root.Machine.CA; ca != nil {
		out.issuing, out.key = []byte(ca.Cert), []byte(ca.Key)
	}
	for _, a := range root.Machine.AcceptedCAs {
		out.accepted = append(out.accepted, []byte(a.Cert))
	}
	return out
}

// next is what a config has to say after a phase. key is that of the new authority, and nil on a worker.
func (t trust) next(p phase, old, now, key []byte) trust {
	others := slices.DeleteFunc(slices.Clone(t.accepted), func(c []byte) bool { return same(c, old) || same(c, now) })
	out := trust{issuing: t.issuing, key: t.key}
	alone := len(t.issuing) == 0
	switch p {
	case accept:
		if same(t.issuing, now) { // it went on further already
			return t
		}
		out.accepted = append(others, now)
		if alone {
			out.accepted = append(others, old, now)
		}
	case swap:
		if alone {
			return t
		}
		out.issuing, out.key, out.accepted = now, key, append(others, old)
	case drop:
		out.accepted = others
		if alone {
			out.accepted = append(others, now)
		}
	}
	return out
}

// equal reports whether two configs say the same.
func (t trust) equal(o trust) bool {
	return same(t.issuing, o.issuing) && same(t.key, o.key) && slices.EqualFunc(t.accepted, o.accepted, same)
}

func same(a, b []byte) bool { return bytes.Equal(bytes.TrimSpace(a), bytes.TrimSpace(b)) }

// with returns the config with what it has to say of an authority. Its comments and its style stay.
func with(s subject, c *config.Config, t trust) (*config.Config, error) {
	have := trustOf(s, c)
	if have.equal(t) {
		return c, nil
	}
	type m = map[string]any
	var clear, set m
	encode := base64.StdEncoding.EncodeToString
	var accepted []any
	switch {
	case s == kubernetes && hasDocument(c, "KubeAPIServerCAConfig"):
		head := func() m { return m{"apiVersion": "v1alpha1", "kind": "KubeAPIServerCAConfig"} }
		clear, set = head(), head()
		clear["acceptedCAs"] = m{"$patch": "delete"}
		for _, a := range t.accepted {
			accepted = append(accepted, string(a))
		}
		if len(accepted) > 0 {
			set["acceptedCAs"] = accepted
		}
		if len(t.issuing) > 0 {
			ca := m{"cert": string(t.issuing)}
			if len(t.key) > 0 {
				ca["key"] = string(t.key)
			}
			set["issuingCA"] = ca
		}
	default:
		part := "machine"
		if s == kubernetes {
			part = "cluster"
		}
		clear = m{part: m{"acceptedCAs": m{"$patch": "delete"}}}
		for _, a := range t.accepted {
			accepted = append(accepted, m{"crt": encode(a)})
		}
		values := m{}
		if len(accepted) > 0 {
			values["acceptedCAs"] = accepted
		}
		if len(t.issuing) > 0 {
			ca := m{"crt": encode(t.issuing)}
			if len(t.key) > 0 {
				ca["key"] = encode(t.key)
			}
			values["ca"] = ca
		}
		set = m{part: values}
	}
	var patches []patch.Patch
	for i, text := range []m{clear, set} {
		if i == 0 && len(have.accepted) == 0 {
			continue
		}
		data, err := yaml.Marshal(text)
		if err != nil {
			return nil, err
		}
		p, err := patch.Parse("the authority of "+s.String(), data)
		if err != nil {
			return nil, err
		}
		patches = append(patches, p)
	}
	out, err := c.Patch(patches...)
	if err != nil {
		return nil, err
	}
	if got := trustOf(s, out); !got.equal(t) {
		return nil, fmt.Errorf("change the authority of %s in the config: it would not say what it should; is it in the root document and in a document both?", s)
	}
	return out, nil
}

func hasDocument(c *config.Config, kind string) bool {
	return slices.ContainsFunc(c.Documents(), func(e schema.Entry) bool { return e.Value.DocumentKind() == kind })
}

// begun finds what an interrupted rotation left: the control plane's machines do not agree which authority issues. now is the newer one
// then, which is gone on with. Otherwise now is empty.
func begun(all []trust) (old, now trust, err error) {
	for _, t := range all {
		switch {
		case len(t.key) == 0:
		case len(old.issuing) == 0:
			old = t
		case same(t.issuing, old.issuing), same(t.issuing, now.issuing):
		case len(now.issuing) == 0:
			now = t
		default:
			return old, now, fmt.Errorf("the machines of the control plane have more than two authorities; make them agree by 'talosctl edit machineconfig'")
		}
	}
	if len(now.issuing) == 0 {
		return old, now, nil
	}
	a, err := secret.ParseCertificate(old.issuing)
	if err != nil {
		return old, now, err
	}
	b, err := secret.ParseCertificate(now.issuing)
	if err != nil {
		return old, now, err
	}
	if a.NotBefore.After(b.NotBefore) {
		old, now = now, old
	}
	return old, now, nil
}
