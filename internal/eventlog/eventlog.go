package eventlog

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf16"
)

// ErrFormat says that bytes are no log, or one of a form that is older than TPM 2.0.
var ErrFormat = errors.New("it is no event log of a TPM 2.0")

// Event is something that was measured.
type Event struct {
	Register int
	Type     uint32
	SHA256   []byte // what the register was extended by; nil if that bank was not in use
	Data     []byte // what the event says of itself
}

// Log has the events in their order.
type Log []Event

// Types of events that are known here (section 10.4.1).
const (
	noAction         = 3
	separator        = 4
	action           = 5
	ipl              = 0xd
	variableConfig   = 0x80000001
	variableBoot     = 0x80000002
	efiAction        = 0x80000007
	variableBoot2    = 0x8000000c
	variableTrustsBy = 0x800000e0
)

const (
	algorithmSHA256 = 0xb
	// maxAlgorithms and maxData bound what a log can ask for.
	maxAlgorithms = 16
	maxRegister   = 23
)

var (
	specID          = []byte("Spec ID Event03\x00")
	startupLocality = []byte("StartupLocality\x00")
)

// reader takes fields from a log. After the first that is not there it gives zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) bytes(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad = true
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) number(size int) uint64 {
	b := r.bytes(uint64(size))
	if r.bad {
		return 0
	}
	var whole [8]byte
	copy(whole[:], b)
	return binary.LittleEndian.Uint64(whole[:])
}

// Parse reads a log, as the kernel shows it in binary_bios_measurements. A log whose end is cut off is an error.
func Parse(b []byte) (Log, error) {
	r := &reader{rest: b}
	sizes, err := header(r)
	if err != nil {
		return nil, fmt.Errorf("read the event log: %w", err)
	}
	var log Log
	for len(r.rest) > 0 {
		e := Event{Register: int(r.number(4)), Type: uint32(r.number(4))}
		count := r.number(4)
		if count > maxAlgorithms {
			return nil, fmt.Errorf("read the event log: event %d has %d digests: %w", len(log), count, ErrFormat)
		}
		for range count {
			algorithm := uint16(r.number(2))
			size, known := sizes[algorithm]
			if !known {
				return nil, fmt.Errorf("read the event log: event %d has a digest of the algorithm %#x, which its header does not name: %w", len(log), algorithm, ErrFormat)
			}
			if digest := r.bytes(size); algorithm == algorithmSHA256 {
				e.SHA256 = digest
			}
		}
		e.Data = r.bytes(r.number(4))
		if r.bad || e.Register < 0 || e.Register > maxRegister && e.Type != noAction {
			return nil, fmt.Errorf("read the event log: event %d is not whole: %w", len(log), ErrFormat)
		}
		log = append(log, e)
	}
	return log, nil
}

// header reads the first event, which is in the older form and says how large digests are.
func header(r *reader) (sizes map[uint16]uint64, err error) {
	r.number(4)
	kind := r.number(4)
	r.bytes(20)
	h := &reader{rest: r.bytes(r.number(4))}
	if kind != noAction || !bytes.Equal(h.bytes(uint64(len(specID))), specID) {
		return nil, ErrFormat
	}
	h.bytes(8) // class of the platform, versions
	count := h.number(4)
	if count > maxAlgorithms {
		return nil, ErrFormat
	}
	sizes = map[uint16]uint64{}
	for range count {
		algorithm := uint16(h.number(2))
		sizes[algorithm] = h.number(2)
	}
	if r.bad || h.bad || sizes[algorithmSHA256] != sha256.Size {
		return nil, fmt.Errorf("%w, or has no digests by SHA-256", ErrFormat)
	}
	return sizes, nil
}

// Replay returns what a register has, in the bank of SHA-256, if the log is all that was measured into it.
func (l Log) Replay(register int) []byte {
	value := make([]byte, sha256.Size)
	for _, e := range l {
		switch {
		case e.Type == noAction && register == 0 && len(e.Data) == len(startupLocality)+1 && bytes.HasPrefix(e.Data, startupLocality):
			value[sha256.Size-1] = e.Data[len(startupLocality)] // section 10.4.5.3
		case e.Type == noAction || e.Register != register || len(e.SHA256) != sha256.Size:
		default:
			sum := sha256.Sum256(append(value[:sha256.Size:sha256.Size], e.SHA256...))
			value = sum[:]
		}
	}
	return value
}

// String says what was measured, without its value.
func (e Event) String() string {
	switch e.Type {
	case variableConfig, variableBoot, variableBoot2:
		if name, ok := variable(e.Data); ok {
			return "the variable " + name
		}
	case variableTrustsBy:
		if name, ok := variable(e.Data); ok {
			return "the entry of " + name + " that a program was started by"
		}
	case separator:
		return "the end of the firmware's part"
	case action, efiAction:
		if text := printable(e.Data); text != "" {
			return text
		}
	case ipl:
		if text := wide(e.Data); text != "" {
			return text
		}
	}
	return fmt.Sprintf("an event of type %#x", e.Type)
}

// variable returns the name in UEFI_VARIABLE_DATA (section 10.2.6).
func variable(b []byte) (name string, ok bool) {
	r := &reader{rest: b}
	r.bytes(16)
	chars := r.number(8)
	r.number(8)
	if chars > 256 {
		return "", false
	}
	name = wide(r.bytes(2 * chars))
	return name, name != ""
}

// wide is a text in UTF-16, as far as it can be shown.
func wide(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b) && i < 512; i += 2 {
		units = append(units, binary.LittleEndian.Uint16(b[i:]))
	}
	return printable([]byte(string(utf16.Decode(units))))
}

const mostText = 80

func printable(b []byte) string {
	text := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return -1
		}
		return c
	}, string(b[:min(len(b), 512)]))
	return text[:min(len(text), mostText)]
}

// Mark is an event in short.
type Mark struct {
	What string `json:"what"`
	Sum  string `json:"sum"` // the beginning of its digest
}

// Marks are the events of a register.
func (l Log) Marks(register int) []Mark {
	var out []Mark
	for _, e := range l {
		if e.Register == register && e.Type != noAction && len(e.SHA256) == sha256.Size {
			out = append(out, Mark{e.String(), hex.EncodeToString(e.SHA256[:8])})
		}
	}
	return out
}

// Changes says what is not as it was, a line for each thing, in the order in which it was measured. None means that the events are the same; in another order
// is a change as well.
func Changes(before, now []Mark) []string {
	was, is := sums(before), sums(now)
	var out []string
	said := map[string]bool{}
	for _, m := range append(now[:len(now):len(now)], before...) {
		if said[m.What] || was[m.What] == is[m.What] {
			continue
		}
		said[m.What] = true
		switch {
		case was[m.What] == "":
			out = append(out, m.What+" is new")
		case is[m.What] == "":
			out = append(out, m.What+" is gone")
		default:
			out = append(out, m.What+" is another")
		}
	}
	if len(out) == 0 && len(before) > 0 {
		for i, m := range now {
			if i >= len(before) || m != before[i] {
				return []string{"the order is another"}
			}
		}
	}
	return out
}

// sums are the values of each thing, in their order.
func sums(marks []Mark) map[string]string {
	out := map[string]string{}
	for _, m := range marks {
		out[m.What] += m.Sum + " "
	}
	return out
}
