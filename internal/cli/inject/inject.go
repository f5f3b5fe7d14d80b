// Package inject has the command that puts credentials for the machine API into manifests of Kubernetes.
package inject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"talos.internal/config/schema"
	"talos.internal/internal/cli/command"
	"talos.internal/secret"
)

const (
	// mountPath is where talosctl looks for its configuration in a pod.
	mountPath  = "/var/run/secrets/talos.dev"
	volumeName = "talos-secrets"
	suffix     = "-talos-secrets"
)

// New returns the command.
func New(env command.Env) *cobra.Command {
	group := command.Group("inject", "Put what pods need to call the machine API into their manifests", accountCommand(env))
	return group
}

func accountCommand(env command.Env) *cobra.Command {
	var (
		file  string
		roles []string
	)
	cmd := &cobra.Command{
		Use:     "serviceaccount",
		Aliases: []string{"tsa"},
		Short:   "Give the pods of a manifest credentials for the machine API",
		Long: "Reads a manifest and prints it with a ServiceAccount (talos.dev) for each object that makes pods, and with a\n" +
			"volume in which all of its containers find a talosconfig, where talosctl looks for it. The config of the\n" +
			"control plane has to allow the roles and the namespace: KubeTalosAPIAccessConfig.",
		Example:           "  talosctl inject serviceaccount --roles os:reader --file deployment.yaml | kubectl apply -f -",
		Args:              command.ExactArgs(),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fl := cmd.Flags()
	fl.StringVarP(&file, "file", "f", "", "the manifest; - is standard input (required)")
	fl.StringSliceVarP(&roles, "roles", "r", []string{secret.RoleReader}, "the roles of the pods")
	command.Require(cmd, "file")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if slices.Contains(roles, "") || len(roles) == 0 {
			return command.Usagef(cmd, "expected --roles to be names of roles such as %s, got %q", secret.RoleReader, roles)
		}
		env.WarnRoles(roles)
		data, err := env.ReadFile(file)
		if err != nil {
			return err
		}
		out, err := accounts(data, roles)
		if err != nil {
			return fmt.Errorf("%s: %w", command.FileName(file), err)
		}
		_, err = env.Stdout.Write(out)
		return err
	}
	return cmd
}

// template is where kinds of objects have the template of their pods.
var template = map[string][]string{
	"Pod": {}, "Deployment": {"spec", "template"}, "DaemonSet": {"spec", "template"}, "StatefulSet": {"spec", "template"},
	"ReplicaSet": {"spec", "template"}, "ReplicationController": {"spec", "template"}, "Job": {"spec", "template"},
	"CronJob": {"spec", "jobTemplate", "spec", "template"},
}

// accounts returns a manifest whose pods have accounts with roles, which come before the object that has the pods. What was so already
// is as it was.
func accounts(manifest []byte, roles []string) ([]byte, error) {
	in := yaml.NewDecoder(bytes.NewReader(manifest))
	var all []*yaml.Node
	found := false
	for {
		var doc yaml.Node
		err := in.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if len(doc.Content) == 0 || doc.Content[0].Kind != yaml.MappingNode {
			continue // an empty document
		}
		account, err := inject(doc.Content[0], roles)
		if err != nil {
			return nil, err
		}
		if account != nil {
			found = true
			all = append(all, account)
		}
		all = append(all, &doc)
	}
	if !found {
		return nil, errors.New("there is no object that makes pods; these do: Pod, Deployment, DaemonSet, StatefulSet, ReplicaSet, Job, CronJob")
	}
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	for _, d := range all {
		if err := enc.Encode(d); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), enc.Close()
}

// inject puts the volume into an object, and returns its account; nil if the object makes no pods.
func inject(object *yaml.Node, roles []string) (*yaml.Node, error) {
	kind := text(object, "kind")
	path, ok := template[kind]
	if !ok {
		return nil, nil
	}
	meta := schema.Child(object, "metadata")
	name := ""
	if meta != nil {
		name = text(meta, "name")
	}
	if name == "" {
		return nil, fmt.Errorf("%s without a metadata.name: it needs one", kind)
	}
	spec := object
	for _, key := range append(slices.Clone(path), "spec") {
		if spec = schema.Child(spec, key); spec == nil || spec.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s %s has no %s", kind, name, strings.Join(append(path, "spec"), "."))
		}
	}
	account := name + suffix
	if err := add(spec, "volumes", volumeName, map[string]any{"name": volumeName, "secret": map[string]any{"secretName": account}}); err != nil {
		return nil, err
	}
	for _, key := range []string{"initContainers", "containers"} {
		list := schema.Child(spec, key)
		if list == nil {
			continue
		}
		for _, c := range list.Content {
			if c.Kind != yaml.MappingNode {
				return nil, fmt.Errorf("%s %s: a container is no mapping", kind, name)
			}
			if err := add(c, "volumeMounts", volumeName, map[string]any{"name": volumeName, "mountPath": mountPath, "readOnly": true}); err != nil {
				return nil, err
			}
		}
	}
	identity := map[string]any{"name": account}
	if ns := text(meta, "namespace"); ns != "" {
		identity["namespace"] = ns
	}
	var out yaml.Node
	err := out.Encode(map[string]any{
		"apiVersion": "talos.dev/v1alpha1", "kind": "ServiceAccount", "metadata": identity, "spec": map[string]any{"roles": roles},
	})
	return &out, err
}

func text(n *yaml.Node, key string) string {
	if v := schema.Child(n, key); v != nil {
		return v.Value
	}
	return ""
}

// add has the list at a key of a mapping have an item with a name.
func add(in *yaml.Node, key, name string, item map[string]any) error {
	var node yaml.Node
	if err := node.Encode(item); err != nil {
		return err
	}
	list := schema.Child(in, key)
	if list == nil {
		list = &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
		in.Content = append(in.Content, schema.StringNode(key), list)
	}
	if list.Kind != yaml.SequenceNode {
		*list = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"} // null
	}
	for i, have := range list.Content {
		if text(have, "name") == name {
			list.Content[i] = &node
			return nil
		}
	}
	list.Content = append(list.Content, &node)
	list.Style &^= yaml.FlowStyle
	return nil
}
