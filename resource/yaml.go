package resource

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"
)

// MarshalYAML returns the whole resource as one YAML document, with the metadata under "metadata"
// and the spec under "spec". Fields that are empty are left out.
func MarshalYAML(r Resource) ([]byte, error) {
	text, err := r.SpecYAML()
	if err != nil {
		return nil, err
	}
	md := r.Metadata()
	var spec yaml.Node
	if err := yaml.Unmarshal(text, &spec); err != nil {
		return nil, fmt.Errorf("spec of %v is not YAML: %w", md.ref, err)
	}
	doc := struct {
		Metadata yamlMetadata `yaml:"metadata"`
		Spec     *yaml.Node   `yaml:"spec"`
	}{Metadata: yamlMetadata{
		Namespace: md.Namespace(), Type: md.Type(), ID: md.ID(), Version: yaml.Node{Kind: yaml.ScalarNode, Value: md.version.String()},
		Owner: md.owner, Phase: md.phase.String(), Created: yamlTime(md.created), Updated: yamlTime(md.updated),
		Finalizers: md.finalizers, Labels: md.labels.m, Annotations: md.annotations.m,
	}}
	if len(spec.Content) > 0 {
		doc.Spec = spec.Content[0]
	}
	return yaml.Marshal(doc)
}

type yamlMetadata struct {
	Namespace   string            `yaml:"namespace"`
	Type        string            `yaml:"type"`
	ID          string            `yaml:"id"`
	Version     yaml.Node         `yaml:"version"`
	Owner       string            `yaml:"owner"`
	Phase       string            `yaml:"phase"`
	Created     string            `yaml:"created"`
	Updated     string            `yaml:"updated"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
	Finalizers  []string          `yaml:"finalizers,omitempty"`
}

func yamlTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
