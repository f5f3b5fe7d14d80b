package uefi

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"io/fs"
	"time"
	"unicode/utf16"

	"talos.internal/internal/gpt"
	"talos.internal/internal/pkcs7"
)

// Variable names a variable of the firmware.
type Variable struct {
	Name   string
	Vendor gpt.GUID
}

// The variables of Secure Boot.
var (
	PK  = Variable{"PK", globalVendor}  // the owner of the machine: who may change KEK. Without it firmware is in setup mode
	KEK = Variable{"KEK", globalVendor} // who may change db and dbx
	DB  = Variable{"db", imageVendor}   // who may sign programs
	DBX = Variable{"dbx", imageVendor}  // what is forbidden, even if signed

	globalVendor = mustGUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
	imageVendor  = mustGUID("d719b2cb-3d3a-4596-a3bc-dad00e67656f")
)

// File returns the name of the variable as a file of Linux's efivarfs.
func (v Variable) File() string { return v.Name + "-" + v.Vendor.String() }

// Attributes are those of the variables of Secure Boot: non-volatile, for boot and runtime services, written with a time and a
// signature.
const Attributes = 0x27

// Update is a signed update of a variable, as files *.auth have it.
type Update struct {
	Time time.Time // in seconds; an update that is not newer than the variable is refused by firmware
	// Value is the variable's new value: see [ParseSignatures].
	Value     []byte
	signature []byte
}

const (
	timeSize   = 16
	certHeader = 8
	// authHeader is EFI_VARIABLE_AUTHENTICATION_2 up to the signature.
	authHeader = timeSize + certHeader + guidSize
	revision   = 0x0200
	typeGUID   = 0x0ef1
)

var typePKCS7 = mustGUID("4aafd29d-68df-49ee-8aa9-347d375665a7")

// SignUpdate makes an update of v that replaces its value, signed by an RSA key. The time is rounded down to a second; it has to be in
// years from 1900 to 9999.
func SignUpdate(v Variable, value []byte, at time.Time, key crypto.Signer, cert *x509.Certificate) (Update, error) {
	u := Update{Time: at.UTC().Truncate(time.Second), Value: value}
	if y := u.Time.Year(); y < 1900 || y > 9999 {
		return Update{}, fmt.Errorf("sign an update of %s: the year is %d; the format knows 1900 to 9999: %w", v.Name, y, fs.ErrInvalid)
	}
	var err error
	if u.signature, err = pkcs7.SignDetached(u.signed(v), key, cert); err != nil {
		return Update{}, fmt.Errorf("sign an update of %s: %w", v.Name, err)
	}
	return u, nil
}

// signed is what is signed of an update of v.
func (u Update) signed(v Variable) []byte {
	var b []byte
	for _, c := range utf16.Encode([]rune(v.Name)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	vendor := wire(v.Vendor)
	b = append(b, vendor[:]...)
	b = binary.LittleEndian.AppendUint32(b, Attributes)
	b = append(b, u.time()...)
	return append(b, u.Value...)
}

// time is EFI_TIME, of which all but the date and the time of day has to be zero here.
func (u Update) time() []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(u.Time.Year()))
	b = append(b, byte(u.Time.Month()), byte(u.Time.Day()), byte(u.Time.Hour()), byte(u.Time.Minute()), byte(u.Time.Second()))
	return append(b, make([]byte, timeSize-len(b))...)
}

// Encode returns the update as firmware takes it.
func (u Update) Encode() []byte {
	le := binary.LittleEndian
	b := u.time()
	b = le.AppendUint32(b, uint32(certHeader+guidSize+len(u.signature)))
	b = le.AppendUint16(b, revision)
	b = le.AppendUint16(b, typeGUID)
	kind := wire(typePKCS7)
	b = append(b, kind[:]...)
	return append(append(b, u.signature...), u.Value...)
}

// ParseUpdate reads an update. It fails with ErrFormat.
func ParseUpdate(b []byte) (Update, error) {
	u, err := parseUpdate(b)
	if err != nil {
		return Update{}, fmt.Errorf("parse an update of a variable: %w", err)
	}
	return u, nil
}

func parseUpdate(b []byte) (Update, error) {
	le := binary.LittleEndian
	if len(b) < authHeader {
		return Update{}, fmt.Errorf("it has %d bytes: %w", len(b), ErrFormat)
	}
	n := int64(le.Uint32(b[timeSize:]))
	if n < certHeader+guidSize || n > int64(len(b))-timeSize || le.Uint16(b[timeSize+4:]) != revision || le.Uint16(b[timeSize+6:]) != typeGUID {
		return Update{}, fmt.Errorf("its signature of %d bytes is not there, or of a type that is not known: %w", n, ErrFormat)
	}
	if kind := wire(gpt.GUID(b[timeSize+certHeader : authHeader])); kind != typePKCS7 {
		return Update{}, fmt.Errorf("its signature is of the type %s: %w", kind, ErrFormat)
	}
	u := Update{
		Time:  time.Date(int(le.Uint16(b)), time.Month(b[2]), int(b[3]), int(b[4]), int(b[5]), int(b[6]), 0, time.UTC),
		Value: bytes.Clone(b[timeSize+n:]), signature: bytes.Clone(b[authHeader : timeSize+n]),
	}
	if !bytes.Equal(u.time(), b[:timeSize]) {
		return Update{}, fmt.Errorf("its time is none: %w", ErrFormat)
	}
	return u, nil
}

// Verify checks that the update is for v and signed by one of trusted; without trusted, that it is signed by whomever. It fails with
// pkcs7.ErrFormat and pkcs7.ErrSignature.
func (u Update) Verify(v Variable, trusted []*x509.Certificate) error {
	m, err := pkcs7.Parse(u.signature)
	if err == nil {
		_, err = m.Verify(u.signed(v), trusted)
	}
	if err != nil {
		return fmt.Errorf("verify an update of %s: %w", v.Name, err)
	}
	return nil
}
