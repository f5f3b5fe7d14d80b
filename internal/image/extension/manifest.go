package extension

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// ErrManifest is wrapped by errors about a manifest that is not sound.
var ErrManifest = errors.New("not a sound manifest")

// manifestVersion is the only version of manifests that there is.
const manifestVersion = "v1alpha1"

// maxManifest is how long a manifest may be, in bytes.
const maxManifest = 64 << 10

// Manifest is what an extension says about itself.
type Manifest struct {
	Version  string   `yaml:"version"` // v1alpha1
	Metadata Metadata `yaml:"metadata"`
}

// Metadata describes an extension.
type Metadata struct {
	Name          string        `yaml:"name"`
	Version       string        `yaml:"version"` // of the extension
	Author        string        `yaml:"author"`
	Description   string        `yaml:"description"`
	Compatibility Compatibility `yaml:"compatibility"`
	ExtraInfo     string        `yaml:"extraInfo,omitempty"`
}

// Compatibility says what an extension works with.
type Compatibility struct {
	Talos Constraint `yaml:"talos"`
}

// Constraint is a condition on a version.
type Constraint struct {
	// Version is a range such as ">= v1.14.0 < v1.16.0": see [ParseRange]. Empty is any version.
	Version string `yaml:"version"`
}

var manifestName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

// ParseManifest reads a manifest. A key that is not known is an error: what it asks for would not be done.
func ParseManifest(b []byte) (Manifest, error) {
	var m Manifest
	if len(b) > maxManifest {
		return Manifest{}, fmt.Errorf("%w: it has more than %d bytes", ErrManifest, maxManifest)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&m); err != nil {
		return Manifest{}, fmt.Errorf("%w: %w", ErrManifest, err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Manifest{}, fmt.Errorf("%w: it has more than one document", ErrManifest)
	}
	switch {
	case m.Version != manifestVersion:
		return Manifest{}, fmt.Errorf("%w: version: expected %s, got %q", ErrManifest, manifestVersion, m.Version)
	case !manifestName.MatchString(m.Metadata.Name):
		return Manifest{}, fmt.Errorf("%w: metadata.name: expected a name such as nut-client, got %q", ErrManifest, m.Metadata.Name)
	case m.Metadata.Version == "":
		return Manifest{}, fmt.Errorf("%w: metadata.version: it is missing", ErrManifest)
	}
	if _, err := ParseRange(m.Metadata.Compatibility.Talos.Version); err != nil {
		return Manifest{}, fmt.Errorf("%w: metadata.compatibility.talos.version: %w", ErrManifest, err)
	}
	return m, nil
}

// Check returns an error that says why the extension is not for a version of the system, such as v1.15.0.
func (m Manifest) Check(system string) error {
	r, err := ParseRange(m.Metadata.Compatibility.Talos.Version)
	if err != nil {
		return err
	}
	v, err := ParseVersion(system)
	if err != nil {
		return err
	}
	// A version before a release is that release for those who wait for it.
	v.Pre = ""
	if !r.Has(v) {
		return fmt.Errorf("extension %s %s is for versions %s of the system, and this is %s", m.Metadata.Name, m.Metadata.Version,
			m.Metadata.Compatibility.Talos.Version, system)
	}
	return nil
}
