package resource

import (
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Metadata is what every resource has beside its spec.
//
// It is a value: a copy shares nothing that can change, so it may be kept, compared with Equal and
// used from several goroutines. The setters change only the variable that they are called on.
//
// Version, owner, created and updated belong to the store: it overwrites what a writer sets there,
// except that the version has to be the one that was read.
type Metadata struct {
	ref         Ref
	owner       string
	version     Version
	created     time.Time
	updated     time.Time
	finalizers  []string // never written in place
	labels      Labels
	annotations Labels
	phase       Phase
}

// NewMetadata returns the metadata of a resource that no store has seen.
func NewMetadata(ref Ref) Metadata { return Metadata{ref: ref} }

// Ref returns the identity of the resource.
func (m Metadata) Ref() Ref { return m.ref }

// Kind returns the namespace and type of the resource.
func (m Metadata) Kind() Kind { return m.ref.Kind() }

// Namespace returns the namespace that the resource is in.
func (m Metadata) Namespace() string { return m.ref.Namespace }

// Type returns the full name of the type, such as "Members.cluster.talos.dev".
func (m Metadata) Type() string { return m.ref.Type }

// ID returns the name of the resource within its kind.
func (m Metadata) ID() string { return m.ref.ID }

// Version returns how often the resource was written, zero if never.
func (m Metadata) Version() Version { return m.version }

// Owner returns the name of the only one that may change the resource; empty means that it has none.
func (m Metadata) Owner() string { return m.owner }

// Phase returns where the resource is in its life.
func (m Metadata) Phase() Phase { return m.phase }

// Created returns when the resource was first written, the zero time if never.
func (m Metadata) Created() time.Time { return m.created }

// Updated returns when the resource was last written, the zero time if never.
func (m Metadata) Updated() time.Time { return m.updated }

// Labels returns what the resource can be selected by.
func (m Metadata) Labels() Labels { return m.labels }

// Annotations returns remarks that nothing selects by.
func (m Metadata) Annotations() Labels { return m.annotations }

// Finalizers returns who still needs the resource, in the order in which they came. The slice is the caller's.
func (m Metadata) Finalizers() []string { return slices.Clone(m.finalizers) }

// HasFinalizers reports whether anyone still needs the resource.
func (m Metadata) HasFinalizers() bool { return len(m.finalizers) > 0 }

// HasFinalizer reports whether name still needs the resource.
func (m Metadata) HasFinalizer(name string) bool { return slices.Contains(m.finalizers, name) }

// DestroyReady reports whether the resource is torn down and nobody needs it any more.
func (m Metadata) DestroyReady() bool { return m.phase == TearingDown && len(m.finalizers) == 0 }

// SetRef changes the identity.
func (m *Metadata) SetRef(ref Ref) { m.ref = ref }

// SetVersion is for stores and decoders.
func (m *Metadata) SetVersion(v Version) { m.version = v }

// SetOwner is for stores and decoders.
func (m *Metadata) SetOwner(owner string) { m.owner = owner }

// SetPhase changes the phase. Writers use the state's Teardown instead.
func (m *Metadata) SetPhase(p Phase) { m.phase = p }

// SetTimes is for stores and decoders.
func (m *Metadata) SetTimes(created, updated time.Time) { m.created, m.updated = created, updated }

// SetFinalizers replaces all finalizers by names without its repetitions. It keeps no reference to names.
func (m *Metadata) SetFinalizers(names []string) {
	m.finalizers = nil
	for _, n := range names {
		m.AddFinalizer(n)
	}
}

// AddFinalizer adds name and reports whether it was not there before.
func (m *Metadata) AddFinalizer(name string) bool {
	if m.HasFinalizer(name) {
		return false
	}
	// A fresh array each time: an append in place could write into one that another copy shares.
	m.finalizers = append(slices.Clip(m.finalizers), name)
	return true
}

// RemoveFinalizer removes name and reports whether it was there.
func (m *Metadata) RemoveFinalizer(name string) bool {
	i := slices.Index(m.finalizers, name)
	if i < 0 {
		return false
	}
	if len(m.finalizers) == 1 {
		m.finalizers = nil
	} else {
		m.finalizers = slices.Concat(m.finalizers[:i], m.finalizers[i+1:])
	}
	return true
}

// SetLabel adds or replaces one label.
func (m *Metadata) SetLabel(key, value string) { m.labels = m.labels.With(key, value) }

// DeleteLabel removes one label, if it is there.
func (m *Metadata) DeleteLabel(key string) { m.labels = m.labels.Without(key) }

// SetLabels replaces all labels.
func (m *Metadata) SetLabels(l Labels) { m.labels = l }

// SetAnnotation adds or replaces one annotation.
func (m *Metadata) SetAnnotation(key, value string) { m.annotations = m.annotations.With(key, value) }

// DeleteAnnotation removes one annotation, if it is there.
func (m *Metadata) DeleteAnnotation(key string) { m.annotations = m.annotations.Without(key) }

// SetAnnotations replaces all annotations.
func (m *Metadata) SetAnnotations(l Labels) { m.annotations = l }

// Equal reports whether every field is the same; the order of finalizers counts, time zones do not.
func (m Metadata) Equal(o Metadata) bool {
	return m.version == o.version && m.created.Equal(o.created) && m.updated.Equal(o.updated) &&
		m.owner == o.owner && m.SameIntent(o)
}

// SameIntent is [Metadata.Equal] without what the store sets by itself: version, owner and times.
func (m Metadata) SameIntent(o Metadata) bool {
	return m.ref == o.ref && m.phase == o.phase && slices.Equal(m.finalizers, o.finalizers) &&
		m.labels.Equal(o.labels) && m.annotations.Equal(o.annotations)
}

// Validate returns an error which names each field that no store may keep: an empty part of the
// identity, an unknown phase, an empty finalizer or label key, or text that is not UTF-8.
func (m Metadata) Validate() error {
	errs := []error{m.ref.Validate()}
	if m.phase > TearingDown {
		errs = append(errs, fmt.Errorf("phase %v is unknown", m.phase))
	}
	if !utf8.ValidString(m.owner) {
		errs = append(errs, fmt.Errorf("owner %q is not UTF-8", m.owner))
	}
	for _, f := range m.finalizers {
		errs = append(errs, validName("finalizer", f))
	}
	errs = append(errs, m.labels.validate("label"), m.annotations.validate("annotation"))
	return errors.Join(errs...)
}

// String returns one line for logs and failures of tests: identity, version, phase and who is involved.
func (m Metadata) String() string {
	s := fmt.Sprintf("%v version %v phase %v", m.ref, m.version, m.phase)
	if m.owner != "" {
		s += " owner " + m.owner
	}
	if len(m.finalizers) > 0 {
		s += fmt.Sprintf(" finalizers %v", m.finalizers)
	}
	return s
}
