package state

import (
	"errors"
	"strings"

	"talos.internal/resource"
)

// ErrorKind is the class of an [Error]. It is an error itself, so that errors.Is can ask for it.
type ErrorKind uint8

const (
	// NotFound says that there is no such resource.
	NotFound ErrorKind = iota + 1
	// Exists says that there is such a resource already.
	Exists
	// Conflict says that the resource is not in the state that the call needs; see [Reason].
	Conflict
	// Invalid says that the call could never succeed as it is.
	Invalid
	// NotSupported says that this store cannot do that.
	NotSupported
	// Busy says that the same call may succeed a little later.
	Busy
	// Unavailable says that the store, or the history that is asked for, is not there.
	Unavailable
	// Denied says that the caller may not do that.
	Denied
)

var kindNames = [...]string{
	NotFound: "not found", Exists: "already exists", Conflict: "conflict", Invalid: "invalid",
	NotSupported: "not supported", Busy: "busy", Unavailable: "unavailable", Denied: "denied",
}

// Error implements error.
func (k ErrorKind) Error() string {
	if k == 0 || int(k) >= len(kindNames) {
		return "unknown error"
	}
	return kindNames[k]
}

// Reason tells apart errors of one kind that a caller handles differently. It is an error itself,
// for errors.Is, and is the same word on the wire.
type Reason string

const (
	VersionConflict    Reason = "VERSION"      // written since it was read: read and try again
	PhaseConflict      Reason = "PHASE"        // being torn down, or not yet
	OwnerConflict      Reason = "OWNER"        // belongs to someone else
	FinalizersConflict Reason = "FINALIZERS"   // still needed by someone
	HistoryLost        Reason = "HISTORY_LOST" // the events after the bookmark are forgotten: begin with the contents
)

// Error implements error.
func (r Reason) Error() string { return strings.ReplaceAll(strings.ToLower(string(r)), "_", " ") }

// Error says which operation failed on what and why.
type Error struct {
	Kind   ErrorKind
	Reason Reason // may be empty
	Op     string // "get", "update", …
	// Ref is what it was about. The id is empty if that was a kind; all may be empty.
	Ref resource.Ref
	// Detail is for people, and may be empty.
	Detail string
}

// Error returns the operation, its subject and the cause in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	switch {
	case e.Ref.ID != "":
		b.WriteString(" " + e.Ref.String())
	case e.Ref.Type != "" || e.Ref.Namespace != "":
		b.WriteString(" " + e.Ref.Kind().String())
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.Kind.Error())
	if e.Reason != "" {
		b.WriteString(" (" + e.Reason.Error() + ")")
	}
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	}
	return b.String()
}

// Is reports whether target is the kind or the reason of e.
func (e *Error) Is(target error) bool {
	switch t := target.(type) {
	case ErrorKind:
		return t == e.Kind
	case Reason:
		return t != "" && t == e.Reason
	}
	return false
}

// KindOf returns the kind of the first [Error] in err's chain, zero if there is none.
func KindOf(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}
