package talosconfig

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"talos.internal/internal/atomicfile"
)

// fileConfig and its parts are the form of the file, with its order of keys.
type fileConfig struct {
	Context  string                 `yaml:"context"`
	Contexts map[string]fileContext `yaml:"contexts"`
	Unknown  map[string]*yaml.Node  `yaml:",inline"`
}

type fileContext struct {
	Endpoints []string              `yaml:"endpoints"`
	Nodes     []string              `yaml:"nodes,omitempty"`
	CA        string                `yaml:"ca,omitempty"`
	Crt       string                `yaml:"crt,omitempty"`
	Key       string                `yaml:"key,omitempty"`
	Auth      *fileAuth             `yaml:"auth,omitempty"`
	Cluster   string                `yaml:"cluster,omitempty"`
	ProxyURL  string                `yaml:"proxy-url,omitempty"`
	Unknown   map[string]*yaml.Node `yaml:",inline"`
}

type fileAuth struct {
	Basic    *yaml.Node            `yaml:"basic,omitempty"`
	SideroV1 *fileSideroV1         `yaml:"siderov1,omitempty"`
	Unknown  map[string]*yaml.Node `yaml:",inline"`
}

type fileSideroV1 struct {
	Identity string                `yaml:"identity"`
	Unknown  map[string]*yaml.Node `yaml:",inline"`
}

// Marshal returns the file's text, with the private keys in the clear: contexts sorted by name, indented
// by four, as the public client writes it, and always the same for the same Config.
func (c *Config) Marshal() ([]byte, error) {
	file := fileConfig{Context: c.Context, Contexts: map[string]fileContext{}, Unknown: c.unknown}

	for name, context := range c.Contexts {
		if context == nil {
			return nil, fmt.Errorf("encode talosconfig: context %q is nil", name)
		}

		file.Contexts[name] = context.file()
	}

	var out bytes.Buffer

	enc := yaml.NewEncoder(&out)
	enc.SetIndent(4)

	if err := errors.Join(enc.Encode(file), enc.Close()); err != nil {
		return nil, fmt.Errorf("encode talosconfig: %w", err)
	}

	return out.Bytes(), nil
}

func (c *Context) file() fileContext {
	f := fileContext{
		Endpoints: c.Endpoints,
		Nodes:     c.Nodes,
		CA:        c.CA,
		Crt:       c.Crt,
		Key:       c.Key.Reveal(),
		Cluster:   c.Cluster,
		ProxyURL:  c.ProxyURL,
		Unknown:   c.unknown,
	}

	if f.Endpoints == nil {
		f.Endpoints = []string{} // the key is always there
	}

	if a := c.Auth; a != nil {
		f.Auth = &fileAuth{Basic: a.basic, Unknown: a.unknown}

		if s := a.SideroV1; s != nil {
			f.Auth.SideroV1 = &fileSideroV1{Identity: s.Identity, Unknown: s.unknown}
		}
	}

	return f
}

// Save writes the file at path, whole or not at all. A new file has mode 0600, an existing one keeps its
// mode and its owner, and stays behind a symbolic link if it is behind one. Directories that are missing
// are made with mode 0700.
func (c *Config) Save(path string) error {
	data, err := c.Marshal()
	if err != nil {
		return err
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("save talosconfig: %w", err)
	}

	if err := atomicfile.WriteFile(path, data, 0o600, atomicfile.Options{Overwrite: true, Preserve: true}); err != nil {
		return fmt.Errorf("save talosconfig: %w", err)
	}

	return nil
}
