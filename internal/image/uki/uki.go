package uki

import (
	"crypto"
	"io"

	"talos.internal/internal/pcrsig"
	"talos.internal/internal/pe"
)

// Image is what is put together.
type Image struct {
	OSRelease []byte // os-release(5)
	Cmdline   string // of the kernel
	Release   string // of the kernel, as uname -r prints it
	Initramfs []byte
	Kernel    []byte
	// PCRKey signs what PCR 11 will be; nil leaves that out. See [pcrsig.Sign] for what it has to be.
	PCRKey crypto.Signer
}

// Write writes the image on the stub given. The same arguments give the same bytes, also with a key: signatures by RSA have no random
// part in the form that is used. Errors are those of [pe.Append] and [pcrsig.Sign].
func (i Image) Write(w io.Writer, stub []byte) error {
	parts, err := i.parts()
	if err != nil {
		return err
	}
	return pe.Append(w, stub, parts)
}

// parts are the sections in the order of the file. The kernel is the last one: it needs room behind it when it unpacks itself.
func (i Image) parts() ([]pe.Part, error) {
	parts := []pe.Part{
		{Name: ".osrel", Data: i.OSRelease}, {Name: ".cmdline", Data: []byte(i.Cmdline)}, {Name: ".uname", Data: []byte(i.Release)},
	}
	large := []pe.Part{{Name: ".initrd", Data: i.Initramfs}, {Name: ".linux", Data: i.Kernel}}
	if i.PCRKey == nil {
		return append(parts, large...), nil
	}
	key, err := pcrsig.PublicKey(i.PCRKey.Public())
	if err != nil {
		return nil, err
	}
	parts = append(parts, pe.Part{Name: pcrsig.SectionKey, Data: key})
	var sections []pcrsig.Section
	for _, p := range append(parts, large...) {
		sections = append(sections, pcrsig.Section(p))
	}
	signatures, err := pcrsig.Sign(i.PCRKey, sections, pcrsig.Phases())
	if err != nil {
		return nil, err
	}
	text, err := signatures.Encode()
	if err != nil {
		return nil, err
	}
	return append(append(parts, pe.Part{Name: pcrsig.SectionSignature, Data: text}), large...), nil
}
