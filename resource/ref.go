package resource

import (
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Kind is what is listed and watched together: the resources of one type in one namespace.
type Kind struct {
	Namespace string
	Type      string
}

// String returns the form "type(namespace)".
func (k Kind) String() string { return k.Type + "(" + k.Namespace + ")" }

// Ref returns the identity of the resource of this kind which is named id.
func (k Kind) Ref(id string) Ref { return Ref{Namespace: k.Namespace, Type: k.Type, ID: id} }

// Validate returns an error if a part is empty or is not UTF-8.
func (k Kind) Validate() error {
	return errors.Join(validName("namespace", k.Namespace), validName("type", k.Type))
}

// Ref is the identity of a resource, whether or not it exists.
type Ref struct {
	Namespace string
	Type      string
	ID        string
}

// String returns the form "type(namespace/id)".
func (r Ref) String() string { return r.Type + "(" + r.Namespace + "/" + r.ID + ")" }

// Kind returns the kind that r belongs to.
func (r Ref) Kind() Kind { return Kind{Namespace: r.Namespace, Type: r.Type} }

// Validate returns an error if a part is empty or is not UTF-8 (a protobuf string has to be).
func (r Ref) Validate() error {
	return errors.Join(r.Kind().Validate(), validName("id", r.ID))
}

func validName(what, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%s is empty", what)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s %q is not UTF-8", what, s)
	}
	return nil
}

// Version counts the writes of one resource: the first is 1. Zero is a resource that no store has seen.
type Version uint64

const undefinedVersion = "undefined"

// String returns the decimal form, or "undefined" for zero.
func (v Version) String() string {
	if v == 0 {
		return undefinedVersion
	}
	return strconv.FormatUint(uint64(v), 10)
}

// ParseVersion is the inverse of [Version.String]. The empty string is the undefined version too.
func ParseVersion(s string) (Version, error) {
	if s == "" || s == undefinedVersion {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse version %q: %w", s, errors.Unwrap(err))
	}
	return Version(n), nil
}

// Phase is where a resource is in its life. It only ever moves forward.
type Phase uint8

const (
	// Running is the phase that a resource is created in.
	Running Phase = iota
	// TearingDown says that the owner wants the resource gone: who holds a finalizer on it lets go
	// of what it made from it and removes the finalizer; with none left the resource is destroyed.
	TearingDown
)

// String returns "running" or "tearingDown".
func (p Phase) String() string {
	switch p {
	case Running:
		return "running"
	case TearingDown:
		return "tearingDown"
	}
	return "Phase(" + strconv.Itoa(int(p)) + ")"
}

// ParsePhase is the inverse of [Phase.String]. The empty string is the running phase.
func ParsePhase(s string) (Phase, error) {
	switch s {
	case "", "running":
		return Running, nil
	case "tearingDown":
		return TearingDown, nil
	}
	return 0, fmt.Errorf("parse phase %q: want running or tearingDown", s)
}
