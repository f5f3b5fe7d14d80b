// Package extservice reads the services that system extensions bring (contract.md, section 5.9).
//
// A service is a YAML file in /usr/local/etc/containers that says what is run, and a root file system in /usr/local/lib/containers/NAME. Reading is pure, and
// strict: what is not understood is an error, since it would not be done. The image builder reads the files to refuse what would not run; the controllers of
// the node read them to run it.
package extservice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The places of services in a root file system.
const (
	SpecDir   = "/usr/local/etc/containers"
	RootfsDir = "/usr/local/lib/containers"
)

// Prefix comes before the name of a service of an extension in the list of all services.
const Prefix = "ext-"

// MaxFile is how long a file may be, in bytes.
const MaxFile = 256 << 10

// Service is a service of an extension.
type Service struct {
	// Name is the service's, without Prefix.
	Name      string    `yaml:"name"`
	Container Container `yaml:"container"`
	// Depends is what has to be there before it starts; each entry has one key.
	Depends []Dependency `yaml:"depends"`
	// Restart is always, never or untilSuccess; empty is always.
	Restart Restart `yaml:"restart"`
	// LogToConsole puts what it says on the console of the machine, too.
	LogToConsole bool `yaml:"logToConsole"`
}

// Container is what is run.
type Container struct {
	Entrypoint string   `yaml:"entrypoint"` // a path in its root file system
	Args       []string `yaml:"args"`
	// Environment is NAME=VALUE. EnvironmentFile is a file of the machine with such lines, which has to be there.
	Environment     []string `yaml:"environment"`
	EnvironmentFile string   `yaml:"environmentFile"`
	Mounts          []Mount  `yaml:"mounts"`
	Security        Security `yaml:"security"`
}

// Mount is a mount as in the OCI runtime specification. Without a type it shows a path of the machine.
type Mount struct {
	Destination string   `yaml:"destination"`
	Type        string   `yaml:"type"`
	Source      string   `yaml:"source"`
	Options     []string `yaml:"options"`
}

// Security is what the container may do besides what all may.
type Security struct {
	WriteableRootfs bool `yaml:"writeableRootfs"`
	WriteableSysfs  bool `yaml:"writeableSysfs"`
	// MaskedPaths and ReadonlyPaths replace those that every container has; nil keeps them.
	MaskedPaths       []string `yaml:"maskedPaths"`
	ReadonlyPaths     []string `yaml:"readonlyPaths"`
	RootfsPropagation string   `yaml:"rootfsPropagation"`
}

// Dependency is one thing that has to be there.
type Dependency struct {
	Service string `yaml:"service"` // another service, by its id
	Path    string `yaml:"path"`    // something at a path of the machine
	// Network are states of the network: addresses, connectivity, hostname, etcfiles.
	Network []string `yaml:"network"`
	Time    bool     `yaml:"time"` // the clock is right
	// Configuration is an ExtensionServiceConfig for this service.
	Configuration bool `yaml:"configuration"`
}

// Restart is what happens when the service ends.
type Restart string

// The kinds of Restart.
const (
	Always       Restart = "always"
	Never        Restart = "never"
	UntilSuccess Restart = "untilSuccess"
)

// NetworkStates are what a service can wait for of the network.
var NetworkStates = []string{"addresses", "connectivity", "hostname", "etcfiles"}

// ID returns the id of the service in the list of all services.
func (s Service) ID() string { return Prefix + s.Name }

var (
	nameForm     = regexp.MustCompile(`^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`)
	variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*=`)
)

// Parse reads a file. The error names all that is wrong.
func Parse(b []byte) (Service, error) {
	var s Service
	if len(b) > MaxFile {
		return Service{}, fmt.Errorf("it has more than %d bytes", MaxFile)
	}
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	if err := dec.Decode(&s); err != nil {
		return Service{}, err
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Service{}, errors.New("it has more than one document")
	}
	if s.Restart == "" {
		s.Restart = Always
	}
	if err := s.check(); err != nil {
		return Service{}, err
	}
	return s, nil
}

func (s Service) check() error {
	var wrong []error
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	if !nameForm.MatchString(s.Name) {
		say("name: expected a name of lower-case letters, digits, '-' and '_' such as nut-client, got %q", s.Name)
	}
	c := s.Container
	if c.Entrypoint == "" {
		say("container.entrypoint: it is missing")
	}
	for i, e := range c.Environment {
		if !variableForm.MatchString(e) {
			say("container.environment[%d]: expected NAME=VALUE, got %q", i, e)
		}
	}
	if f := c.EnvironmentFile; f != "" && !cleanPath(f) {
		say("container.environmentFile: expected an absolute path, got %q", f)
	}
	for i, m := range c.Mounts {
		if !cleanPath(m.Destination) {
			say("container.mounts[%d].destination: expected an absolute path, got %q", i, m.Destination)
		}
		if m.Type == "" && m.Source == "" || (m.Type == "" || m.Type == "bind") && !cleanPath(m.Source) {
			say("container.mounts[%d].source: expected an absolute path, got %q", i, m.Source)
		}
	}
	for _, list := range []struct {
		name  string
		paths []string
	}{{"maskedPaths", c.Security.MaskedPaths}, {"readonlyPaths", c.Security.ReadonlyPaths}} {
		for i, p := range list.paths {
			if !cleanPath(p) {
				say("container.security.%s[%d]: expected an absolute path, got %q", list.name, i, p)
			}
		}
	}
	if p := c.Security.RootfsPropagation; p != "" && !slices.Contains([]string{"private", "rprivate", "slave", "rslave", "shared", "rshared"}, p) {
		say("container.security.rootfsPropagation: expected private, slave or shared, perhaps with an r before it, got %q", p)
	}
	for i, d := range s.Depends {
		if err := d.check(); err != nil {
			say("depends[%d]: %w", i, err)
		}
	}
	if !slices.Contains([]Restart{Always, Never, UntilSuccess}, s.Restart) {
		say("restart: expected always, never or untilSuccess, got %q", string(s.Restart))
	}
	return errors.Join(wrong...)
}

func (d Dependency) check() error {
	n := 0
	for _, set := range []bool{d.Service != "", d.Path != "", len(d.Network) > 0, d.Time, d.Configuration} {
		if set {
			n++
		}
	}
	if n != 1 {
		return errors.New("expected one of service, path, network, time, configuration")
	}
	if d.Path != "" && !cleanPath(d.Path) {
		return fmt.Errorf("path: expected an absolute path, got %q", d.Path)
	}
	for _, w := range d.Network {
		if !slices.Contains(NetworkStates, w) {
			return fmt.Errorf("network: expected some of %s, got %q", strings.Join(NetworkStates, ", "), w)
		}
	}
	return nil
}

func cleanPath(p string) bool {
	return path.IsAbs(p) && path.Clean(p) == p && !strings.ContainsAny(p, "\x00\n")
}

// ParseEnvironment reads a file of NAME=VALUE lines, as systemd.exec(5) has for EnvironmentFile without quotes: empty lines and such that begin with # or ; are left
// out.
func ParseEnvironment(b []byte) ([]string, error) {
	var out []string
	n := 0
	for line := range strings.Lines(string(b)) {
		n++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if !variableForm.MatchString(line) || strings.ContainsRune(line, 0) {
			return nil, fmt.Errorf("line %d: expected NAME=VALUE", n)
		}
		out = append(out, line)
	}
	return out, nil
}
