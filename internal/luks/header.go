package luks

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Errors. A secret that opens nothing, and a header of which no copy is whole.
var (
	ErrSecret  = errors.New("the secret does not open it")
	ErrDamaged = errors.New("the LUKS header is damaged")
	ErrNone    = errors.New("there is no LUKS header")
)

// Sizes of what is made here. They are those of cryptsetup.
const (
	binarySize   = 4096
	headerSize   = 16 << 10 // of one copy: the binary part and the JSON
	copies       = 2
	DataOffset   = 16 << 20 // where the data begin
	MaxSlots     = 32
	sectorSize   = 512
	areaAlign    = 4096
	maxHeader    = 4 << 20 // the largest that the specification knows
	checksumName = "sha256"
)

// Offsets in the binary part (specification, figure 2).
const (
	offVersion  = 6
	offSize     = 8
	offSequence = 16
	offLabel    = 24
	offAlgo     = 72
	offSalt     = 104
	offUUID     = 168
	offSystem   = 208
	offOffset   = 256
	offChecksum = 448
)

var magics = [copies]string{"LUKS\xba\xbe", "SKUL\xba\xbe"}

var be = binary.BigEndian

// Header is what is known of a volume. It holds no key. It is not safe for concurrent use.
type Header struct {
	UUID, Label string

	size     int64 // of a copy
	sequence uint64
	meta     metadata
	good     int  // the copy that this was read from
	Stale    bool // the other copy is damaged or old; the next change repairs it
}

// Read reads the newer one of the two copies that is whole. ErrNone and ErrDamaged say that there is none.
// A header that asks for what is not supported gives an error that wraps errors.ErrUnsupported.
func Read(r io.ReaderAt) (*Header, error) {
	var best *Header
	seen, whole := false, 0
	var why error
	at := []int64{0}
	if h, found, err := readCopy(r, 0, 0); found {
		seen = true
		if err == nil {
			best, whole, at = h, 1, append(at, h.size)
		} else if errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		} else {
			why = err
		}
	} else if err != nil {
		return nil, err
	}
	if best == nil { // the second copy is at one of the sizes that a header may have
		for s := int64(headerSize); s <= maxHeader; s *= 2 {
			at = append(at, s)
		}
	}
	for _, offset := range at[1:] {
		h, found, err := readCopy(r, offset, 1)
		if !found {
			continue
		}
		seen = true
		switch {
		case err != nil:
			why = errors.Join(why, err)
		case best == nil || h.sequence > best.sequence:
			stale := best != nil
			best = h
			best.Stale = stale
			whole++
		default:
			best.Stale = h.sequence < best.sequence
			whole++
		}
	}
	switch {
	case !seen:
		return nil, ErrNone
	case best == nil:
		return nil, fmt.Errorf("%w: %w", ErrDamaged, why)
	}
	best.Stale = best.Stale || whole < copies
	return best, best.check()
}

// readCopy reads one copy. found says that something calls itself one.
func readCopy(r io.ReaderAt, offset int64, which int) (h *Header, found bool, err error) {
	head := make([]byte, binarySize)
	if n, err := r.ReadAt(head, offset); n < binarySize {
		if errors.Is(err, io.EOF) {
			return nil, false, nil
		}
		return nil, false, fmt.Errorf("read the LUKS header: %w", err)
	}
	if string(head[:6]) != magics[which] {
		return nil, false, nil
	}
	if v := be.Uint16(head[offVersion:]); v != 2 {
		return nil, true, fmt.Errorf("LUKS version %d: %w", v, errors.ErrUnsupported)
	}
	size := be.Uint64(head[offSize:])
	if size < headerSize || size > maxHeader || size&(size-1) != 0 {
		return nil, true, fmt.Errorf("the LUKS header at %d says that it has %d bytes", offset, size)
	}
	if at := be.Uint64(head[offOffset:]); at != uint64(offset) {
		return nil, true, fmt.Errorf("the LUKS header at %d says that it is at %d", offset, at)
	}
	if name := text(head[offAlgo : offAlgo+32]); name != checksumName {
		return nil, true, fmt.Errorf("the LUKS header at %d has a checksum by %q", offset, name)
	}
	all := make([]byte, size)
	if n, err := r.ReadAt(all, offset); n < len(all) {
		return nil, true, fmt.Errorf("read the LUKS header at %d: %w", offset, err)
	}
	want := bytes.Clone(all[offChecksum : offChecksum+sha256.Size])
	if got := checksum(all); !bytes.Equal(got[:], want) {
		return nil, true, fmt.Errorf("the checksum of the LUKS header at %d is wrong", offset)
	}
	h = &Header{
		UUID: text(head[offUUID : offUUID+40]), Label: text(head[offLabel : offLabel+48]),
		size: int64(size), sequence: be.Uint64(head[offSequence:]), good: which,
	}
	body, _, _ := bytes.Cut(all[binarySize:], []byte{0})
	if err := json.Unmarshal(body, &h.meta); err != nil {
		return nil, true, fmt.Errorf("the JSON of the LUKS header at %d: %w", offset, err)
	}
	return h, true, nil
}

// text returns a field that ends with a zero.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// checksum is over a copy with zeros in the place of the checksum.
func checksum(all []byte) [sha256.Size]byte {
	b := bytes.Clone(all)
	clear(b[offChecksum : offChecksum+64])
	return sha256.Sum256(b)
}

// encode returns a copy as it is on disk.
func (h *Header) encode(which int) ([]byte, error) {
	body, err := json.Marshal(h.meta)
	if err != nil {
		return nil, fmt.Errorf("encode the LUKS header: %w", err)
	}
	if int64(len(body)) >= h.size-binarySize {
		return nil, fmt.Errorf("encode the LUKS header: %d bytes of JSON, and there is room for %d", len(body), h.size-binarySize-1)
	}
	b := make([]byte, h.size)
	copy(b, magics[which])
	be.PutUint16(b[offVersion:], 2)
	be.PutUint64(b[offSize:], uint64(h.size))
	be.PutUint64(b[offSequence:], h.sequence)
	copy(b[offLabel:offLabel+47], h.Label)
	copy(b[offAlgo:], checksumName)
	_, _ = rand.Read(b[offSalt : offSalt+64]) // never fails (crypto/rand)
	copy(b[offUUID:offUUID+39], h.UUID)
	be.PutUint64(b[offOffset:], uint64(which)*uint64(h.size))
	copy(b[binarySize:], body)
	sum := checksum(b)
	copy(b[offChecksum:], sum[:])
	return b, nil
}
