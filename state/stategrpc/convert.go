package stategrpc

import (
	"fmt"
	"regexp"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"talos.internal/api/statepb"
	"talos.internal/resource"
	"talos.internal/state"
)

// maxRegexp bounds the expressions that a peer may send, in bytes: compiling takes memory in
// proportion, matching is linear (package regexp).
const maxRegexp = 4096

func encodeResource(r resource.Resource) (*statepb.Resource, error) {
	if r == nil {
		return nil, nil
	}
	proto, err := r.SpecProto()
	if err != nil {
		return nil, err
	}
	text, err := r.SpecYAML()
	if err != nil {
		return nil, err
	}
	md := r.Metadata()
	return &statepb.Resource{
		Metadata: &statepb.Metadata{
			Namespace: md.Namespace(), Type: md.Type(), Id: md.ID(), Version: md.Version().String(),
			Owner: md.Owner(), Phase: md.Phase().String(), Finalizers: md.Finalizers(),
			Created: encodeTime(md.Created()), Updated: encodeTime(md.Updated()),
			Labels: md.Labels().Map(), Annotations: md.Annotations().Map(),
		},
		Spec: &statepb.Spec{ProtoSpec: proto, YamlSpec: string(text)},
	}, nil
}

func encodeTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func decodeTime(t *timestamppb.Timestamp) (time.Time, error) {
	if t == nil {
		return time.Time{}, nil
	}
	return t.AsTime(), t.CheckValid()
}

// decodeResource returns nil for nil. A type that reg does not know becomes a resource.Raw.
func decodeResource(p *statepb.Resource, reg *resource.Registry) (resource.Resource, error) {
	if p == nil {
		return nil, nil
	}
	m := p.GetMetadata()
	md := resource.NewMetadata(resource.Ref{Namespace: m.GetNamespace(), Type: m.GetType(), ID: m.GetId()})
	version, err := resource.ParseVersion(m.GetVersion())
	if err != nil {
		return nil, invalid("decode", md.Ref(), err)
	}
	phase, err := resource.ParsePhase(m.GetPhase())
	if err != nil {
		return nil, invalid("decode", md.Ref(), err)
	}
	created, err := decodeTime(m.GetCreated())
	if err != nil {
		return nil, invalid("decode", md.Ref(), err)
	}
	updated, err := decodeTime(m.GetUpdated())
	if err != nil {
		return nil, invalid("decode", md.Ref(), err)
	}
	md.SetVersion(version)
	md.SetPhase(phase)
	md.SetOwner(m.GetOwner())
	md.SetTimes(created, updated)
	md.SetFinalizers(m.GetFinalizers())
	md.SetLabels(resource.LabelsFrom(m.GetLabels()))
	md.SetAnnotations(resource.LabelsFrom(m.GetAnnotations()))
	proto, text := p.GetSpec().GetProtoSpec(), p.GetSpec().GetYamlSpec()
	if version == 0 && len(proto) == 0 && text == "" {
		return resource.Tombstone(md.Ref()).WithMetadata(md), nil // every spec that exists has some YAML
	}
	r, err := reg.Decode(md, proto, []byte(text))
	if err != nil {
		return nil, invalid("decode", md.Ref(), err)
	}
	return r, nil
}

func invalid(op string, ref resource.Ref, err error) error {
	return &state.Error{Kind: state.Invalid, Op: op, Ref: ref, Detail: err.Error()}
}

func encodeQuery(q resource.Query) ([]*statepb.LabelQuery, *statepb.IDQuery) {
	var labels []*statepb.LabelQuery
	for _, l := range q.Labels {
		p := &statepb.LabelQuery{}
		for _, t := range l {
			p.Terms = append(p.Terms, &statepb.LabelTerm{Key: t.Key, Op: statepb.LabelTerm_Operation(t.Op), Value: t.Values, Invert: t.Invert})
		}
		labels = append(labels, p)
	}
	if q.ID == nil {
		return labels, nil
	}
	return labels, &statepb.IDQuery{Regexp: q.ID.String()}
}

func decodeQuery(labels []*statepb.LabelQuery, id *statepb.IDQuery) (q resource.Query, err error) {
	for _, p := range labels {
		l := resource.LabelQuery{}
		for _, t := range p.GetTerms() {
			if op := t.GetOp(); op < 0 || op > statepb.LabelTerm_LTE_NUMERIC {
				return q, fmt.Errorf("label term on %s: operation %d is unknown", t.GetKey(), op)
			}
			l = append(l, resource.LabelTerm{Key: t.GetKey(), Op: resource.LabelOp(t.GetOp()), Values: t.GetValue(), Invert: t.GetInvert()})
		}
		q.Labels = append(q.Labels, l)
	}
	if expr := id.GetRegexp(); expr != "" {
		if len(expr) > maxRegexp {
			return q, fmt.Errorf("the expression for ids is longer than %d bytes", maxRegexp)
		}
		if q.ID, err = regexp.Compile(expr); err != nil {
			return q, fmt.Errorf("the expression for ids: %w", err)
		}
	}
	return q, q.Validate()
}

func encodePhase(e state.ExpectedPhase) *string {
	var s string
	switch e {
	case state.ExpectRunning:
		s = resource.Running.String()
	case state.ExpectTearingDown:
		s = resource.TearingDown.String()
	default:
		return nil
	}
	return &s
}

// decodePhase takes an absent phase for any: that is how the published client says so.
func decodePhase(s *string) (state.ExpectedPhase, error) {
	if s == nil {
		return state.ExpectAny, nil
	}
	p, err := resource.ParsePhase(*s)
	if p == resource.TearingDown {
		return state.ExpectTearingDown, err
	}
	return state.ExpectRunning, err
}
