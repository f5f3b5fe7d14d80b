package provision

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/internal/atomicfile"
)

// State is what is remembered of a cluster: what it is made of, whether that is there or not. It holds no secrets.
type State struct {
	Provisioner        string       `yaml:"provisioner"`
	Name               string       `yaml:"name"`
	Phase              Phase        `yaml:"phase"`
	Created            time.Time    `yaml:"created"`
	Network            StateNetwork `yaml:"network"`
	Image              string       `yaml:"image"`
	KubernetesEndpoint string       `yaml:"kubernetesEndpoint,omitempty"`
	Nodes              []StateNode  `yaml:"nodes"`
	// Data is what only the provisioner knows, such as the names of what it made.
	Data map[string]string `yaml:"data,omitempty"`
}

// StateNetwork is the network of a cluster.
type StateNetwork struct {
	Name        string       `yaml:"name"`
	CIDR        netip.Prefix `yaml:"cidr"`
	Gateway     netip.Addr   `yaml:"gateway"`
	MTU         int          `yaml:"mtu"`
	Nameservers []netip.Addr `yaml:"nameservers,omitempty"`
	NoIPv6      bool         `yaml:"noIPv6,omitempty"`
}

// Request is the network as it was asked for.
func (n StateNetwork) Request() NetworkRequest {
	return NetworkRequest{CIDR: n.CIDR, MTU: n.MTU, Nameservers: n.Nameservers, NoIPv6: n.NoIPv6}
}

// StateNode is a node of a cluster.
type StateNode struct {
	Name    string     `yaml:"name"`
	Type    string     `yaml:"type"`
	Address netip.Addr `yaml:"address"`
	CPUs    float64    `yaml:"cpus,omitempty"`
	Memory  int64      `yaml:"memory,omitempty"`
	Mounts  []Mount    `yaml:"mounts,omitempty"`
}

// Node returns the index of a node. The error is fs.ErrNotExist, and names those that there are.
func (s *State) Node(name string) (int, error) {
	var names []string
	for i, n := range s.Nodes {
		if n.Name == name {
			return i, nil
		}
		names = append(names, n.Name)
	}
	return 0, fmt.Errorf("cluster %s has no node %s, it has %v: %w", s.Name, name, names, fs.ErrNotExist)
}

// Store keeps the states of clusters, each in a folder of the cluster's name in Dir.
type Store struct {
	Dir string
}

// DefaultDir is the folder of the user's clusters, ~/.talos/clusters.
func DefaultDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find the folder of clusters: %w", err)
	}
	return filepath.Join(home, ".talos", "clusters"), nil
}

const stateFile = "state.yaml"

// Path is the folder of a cluster, or a path in it.
func (s Store) Path(cluster string, elem ...string) string {
	return filepath.Join(slices.Concat([]string{s.Dir, cluster}, elem)...)
}

// Load reads the state of a cluster. The error is fs.ErrNotExist if there is no such cluster. A folder without a state is
// what a create leaves that was interrupted before it began: the state is then nil, without an error.
func (s Store) Load(cluster string) (*State, error) {
	if err := CheckName(cluster); err != nil {
		return nil, err
	}
	if _, err := os.Stat(s.Path(cluster)); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %s in %s: %w", cluster, s.Dir, fs.ErrNotExist)
	}
	text, err := os.ReadFile(s.Path(cluster, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of cluster %s: %w", cluster, err)
	}
	state, err := parseState(text)
	if err == nil && state.Name != cluster {
		err = fmt.Errorf("it is that of cluster %q", state.Name)
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of cluster %s: %s: %w", cluster, s.Path(cluster, stateFile), err)
	}
	return state, nil
}

func parseState(text []byte) (*State, error) {
	state := new(State)
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(state); err != nil {
		return nil, err
	}
	return state, nil
}

// Save writes the state of a cluster, whose folder is there. A reader sees the old state or the new one.
func (s Store) Save(state *State) error {
	text, err := yaml.Marshal(state)
	if err == nil {
		err = atomicfile.WriteFile(s.Path(state.Name, stateFile), text, 0o600, atomicfile.Options{Overwrite: true})
	}
	if err != nil {
		return fmt.Errorf("write the state of cluster %s: %w", state.Name, err)
	}
	return nil
}

// Names lists the clusters, sorted.
func (s Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list clusters: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && CheckName(e.Name()) == nil {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Cluster is the state as a cluster whose nodes are not known to run.
func (s Store) Cluster(state *State) *Cluster {
	c := &Cluster{
		Provisioner: state.Provisioner, Name: state.Name, Phase: state.Phase, Created: state.Created, Image: state.Image,
		Network:            Network{state.Network.Name, state.Network.CIDR, state.Network.Gateway, state.Network.MTU},
		KubernetesEndpoint: state.KubernetesEndpoint, Dir: s.Path(state.Name),
	}
	for _, n := range state.Nodes {
		c.Nodes = append(c.Nodes, Node{
			Name: n.Name, Type: n.Type, Address: n.Address, CPUs: n.CPUs, Memory: n.Memory, Status: Missing,
		})
	}
	return c
}
