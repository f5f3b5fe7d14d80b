package blockdoc

import "talos.internal/config/schema"

// Mount says how a system volume is mounted.
type Mount struct {
	// Secure mounts without set-user-ID programs and device nodes (options nosuid and nodev), and on volumes that hold no
	// programs without executable files (noexec). The default is true.
	Secure *bool `yaml:"secure"`
	// DisableAccessTime does not record when files were last read (option noatime), which saves writes. The default is
	// false.
	DisableAccessTime bool `yaml:"disableAccessTime"`
}

// UserMount says how a user volume is mounted.
type UserMount struct {
	// DisableAccessTime does not record when files were last read (option noatime), which saves writes. The default is
	// false.
	DisableAccessTime bool `yaml:"disableAccessTime"`
	// Secure mounts without set-user-ID programs, device nodes and executable files: options nosuid, nodev and noexec. The
	// default is true.
	Secure *bool `yaml:"secure"`
}

// ExistingMount says how a volume that was found on a disk is mounted.
type ExistingMount struct {
	// ReadOnly mounts the volume so that nothing can write to it. The default is false.
	ReadOnly bool `yaml:"readOnly"`
	// DisableAccessTime does not record when files were last read (option noatime), which saves writes. The default is
	// false.
	DisableAccessTime bool `yaml:"disableAccessTime"`
	// Secure mounts without set-user-ID programs, device nodes and executable files: options nosuid, nodev and noexec. The
	// default is true.
	Secure *bool `yaml:"secure"`
}

// ExternalMount says how a volume that the hypervisor offers is mounted.
type ExternalMount struct {
	// ReadOnly mounts the volume so that nothing can write to it. The default is false.
	ReadOnly bool `yaml:"readOnly"`
	// DisableAccessTime does not record when files were last read (option noatime), which saves writes. The default is
	// false.
	DisableAccessTime bool `yaml:"disableAccessTime"`
	// Secure mounts without set-user-ID programs, device nodes and executable files: options nosuid, nodev and noexec. The
	// default is true.
	Secure *bool `yaml:"secure"`
	// Virtiofs names the share; a volume of file system type virtiofs needs it.
	Virtiofs *Virtiofs `yaml:"virtiofs"`
}

// Virtiofs names a directory that the hypervisor shares with its guest.
type Virtiofs struct {
	// Tag is the name that the hypervisor gave the share, of at most 36 bytes.
	Tag string `yaml:"tag" required:"true"`
}

// SecureOrDefault reports whether the volume is mounted with nosuid and nodev, and where that fits noexec; m may be nil.
func (m *Mount) SecureOrDefault() bool { return m == nil || orDefault(m.Secure, true) }

// SecureOrDefault reports whether the volume is mounted with nosuid, nodev and noexec; m may be nil.
func (m *UserMount) SecureOrDefault() bool { return m == nil || orDefault(m.Secure, true) }

// SecureOrDefault reports whether the volume is mounted with nosuid, nodev and noexec; m may be nil.
func (m *ExistingMount) SecureOrDefault() bool { return m == nil || orDefault(m.Secure, true) }

// SecureOrDefault reports whether the volume is mounted with nosuid, nodev and noexec; m may be nil.
func (m *ExternalMount) SecureOrDefault() bool { return m == nil || orDefault(m.Secure, true) }

// Validate checks the length of the tag (virtio 1.2 §5.11.4).
func (v *Virtiofs) Validate(r *schema.Reporter) {
	if n := len(v.Tag); n < 1 || n > 36 {
		r.At("tag").Errorf("expected a tag of 1 to 36 bytes, got %d", n)
	}
}
