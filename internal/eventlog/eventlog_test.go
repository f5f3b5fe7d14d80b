package eventlog

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
)

var le = binary.LittleEndian

// start is the first event, with the banks of SHA-1 and SHA-256.
func start() []byte {
	id := slices.Concat(specID, make([]byte, 8))
	id = le.AppendUint32(id, 2)
	for _, a := range [][2]uint16{{4, 20}, {algorithmSHA256, 32}} {
		id = le.AppendUint16(le.AppendUint16(id, a[0]), a[1])
	}
	id = append(id, 0)
	b := le.AppendUint32(nil, 0)
	b = append(le.AppendUint32(b, noAction), make([]byte, 20)...)
	return append(le.AppendUint32(b, uint32(len(id))), id...)
}

// event is one of the others.
func event(register int, kind uint32, measured, data []byte) []byte {
	b := le.AppendUint32(le.AppendUint32(nil, uint32(register)), kind)
	b = le.AppendUint32(b, 2)
	b = append(le.AppendUint16(b, 4), make([]byte, 20)...)
	sum := sha256.Sum256(measured)
	b = append(le.AppendUint16(b, algorithmSHA256), sum[:]...)
	return append(le.AppendUint32(b, uint32(len(data))), data...)
}

func variableData(name string, value string) []byte {
	b := make([]byte, 16)
	units := utf16.Encode([]rune(name))
	b = le.AppendUint64(le.AppendUint64(b, uint64(len(units))), uint64(len(value)))
	for _, u := range units {
		b = le.AppendUint16(b, u)
	}
	return append(b, value...)
}

// firmware is the log of a start.
func firmware(db, dbx string) []byte {
	var out []byte
	out = append(out, start()...)
	out = append(out, event(0, noAction, nil, append(slices.Clone(startupLocality), 3))...)
	for _, v := range [][2]string{{"SecureBoot", "\x01"}, {"db", db}, {"dbx", dbx}} {
		data := variableData(v[0], v[1])
		out = append(out, event(7, variableConfig, data, data)...)
	}
	out = append(out, event(4, efiAction, []byte("Calling"), []byte("Calling EFI Application from Boot Option"))...)
	out = append(out, event(7, separator, make([]byte, 4), make([]byte, 4))...)
	return append(out, event(7, variableTrustsBy, []byte(db), variableData("db", db))...)
}

func parse(t testing.TB, b []byte) Log {
	t.Helper()
	log, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

func TestALogIsReplayed(t *testing.T) {
	log := parse(t, firmware("owner", ""))
	value := make([]byte, 32)
	for _, measured := range [][]byte{variableData("SecureBoot", "\x01"), variableData("db", "owner"), variableData("dbx", ""), make([]byte, 4), []byte("owner")} {
		one := sha256.Sum256(measured)
		sum := sha256.Sum256(append(value, one[:]...))
		value = sum[:]
	}
	if diff := cmp.Diff(value, log.Replay(7)); diff != "" {
		t.Errorf("Replay(7) (-want +got):\n%s", diff)
	}
	if got := log.Replay(0); got[31] != 3 {
		t.Errorf("Replay(0) = %x; want it to begin with the locality of the start", got)
	}
	var names []string
	for _, m := range log.Marks(7) {
		names = append(names, m.What)
	}
	want := []string{"the variable SecureBoot", "the variable db", "the variable dbx", "the end of the firmware's part", "the entry of db that a program was started by"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("Marks(7) (-want +got):\n%s", diff)
	}
	if m := log.Marks(4); len(m) != 1 || m[0].What != "Calling EFI Application from Boot Option" {
		t.Errorf("Marks(4) = %v", m)
	}
}

func TestChanges(t *testing.T) {
	before := parse(t, firmware("owner", "")).Marks(7)
	swapped := slices.Clone(before)
	swapped[1], swapped[2] = swapped[2], swapped[1]
	for _, tc := range []struct {
		name string
		now  []Mark
		want []string
	}{
		{"the same", parse(t, firmware("owner", "")).Marks(7), nil},
		{"programs were forbidden", parse(t, firmware("owner", "bad")).Marks(7), []string{"the variable dbx is another"}},
		{"another owner", parse(t, firmware("thief", "")).Marks(7), []string{"the variable db is another", "the entry of db that a program was started by is another"}},
		{"something more", append(slices.Clone(before), Mark{"a driver", "1"}), []string{"a driver is new"}},
		{"something less", before[1:], []string{"the variable SecureBoot is gone"}},
		{"twice", append(slices.Clone(before), before[0]), []string{"the variable SecureBoot is another"}},
		{"another order", swapped, []string{"the order is another"}},
	} {
		if diff := cmp.Diff(tc.want, Changes(before, tc.now)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}

func TestWhatIsNoLog(t *testing.T) {
	whole := firmware("owner", "")
	for _, tc := range []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"a log of TPM 1.2", append(make([]byte, 28), 4, 0, 0, 0, 1, 2, 3, 4)},
		{"no bank of SHA-256", []byte(strings.Replace(string(start()), "\x0b\x00\x20\x00", "\x0c\x00\x30\x00", 1))},
		{"cut", whole[:len(whole)-1]},
		{"a digest of an algorithm that is not named", append(start(), 7, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 9, 9)},
		{"very many digests", append(start(), 7, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255)},
		{"a register that there is not", append(start(), event(99, separator, nil, nil)...)},
	} {
		if _, err := Parse(tc.b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: Parse = %v; want %v", tc.name, err, ErrFormat)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(firmware("owner", "bad"))
	f.Add(start())
	f.Fuzz(func(t *testing.T, b []byte) {
		log, err := Parse(b)
		if err != nil {
			return
		}
		marks := log.Marks(7)
		if len(log.Replay(7)) != sha256.Size {
			t.Error("a register has no value")
		}
		if got := Changes(marks, marks); got != nil {
			t.Errorf("a log differs from itself: %v", got)
		}
	})
}
