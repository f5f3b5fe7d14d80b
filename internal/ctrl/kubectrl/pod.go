package kubectrl

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"talos.internal/resource/kube"
)

// Only types that protobuf's Struct has: lists are []any, numbers int.
type (
	object = map[string]any
	list   = []any
)

// component is what a pod of the control plane is made from.
type component struct {
	name, image string
	line        []string // the program and its arguments
	env         map[string]string
	volumes     []kube.ExtraVolume
	resources   kube.Resources
	versions    map[string]string // annotations
	// live and ready are the paths of probes.
	live, ready string
	// port is where it serves if its arguments do not say.
	port int
	// noStartup leaves the startup probe out. connectOnly has probes that only connect.
	noStartup, connectOnly bool
	// withConfigs and withAudit mount these directories.
	withConfigs, withAudit bool
	// grace is how many seconds it has for its end; 0 is Kubernetes' default.
	grace int
}

// pod makes the Pod of a component (contract.md, section 6.2): no root, no capabilities, nothing to write to but what is mounted.
func (c component) pod(d Deps) object {
	mounts, volumes := list{}, list{}
	mount := func(name, host, at string, readOnly bool) {
		mounts = append(mounts, object{"name": name, "mountPath": at, "readOnly": readOnly})
		// No type: that would be looked at from kubelet's container, and the directory is there.
		volumes = append(volumes, object{"name": name, "hostPath": object{"path": host}})
	}
	secrets, configs := d.Secrets+"/"+c.name, d.Configs+"/"+c.name
	mount("secrets", secrets, secrets, true)
	if c.withConfigs {
		mount("config", configs, configs, true)
	}
	if c.withAudit {
		mount("audit", auditDir, auditDir, false)
	}
	for _, v := range c.volumes {
		mount(v.Name, v.HostPath, v.MountPath, v.ReadOnly)
	}

	// Not status.podIP: as long as kubelet does not know the address, that is empty, and this keeps the container from starting.
	env := list{object{"name": "NODE_IP", "valueFrom": object{"fieldRef": object{"fieldPath": "status.hostIP"}}}}
	if _, given := c.env["GOGC"]; !given && d.Garbage != "" {
		env = append(env, object{"name": "GOGC", "value": d.Garbage})
	}
	for _, name := range slices.Sorted(maps.Keys(c.env)) {
		env = append(env, object{"name": name, "value": c.env[name]})
	}
	line := list{}
	for _, a := range c.line {
		line = append(line, a)
	}
	container := object{
		"name": c.name, "image": c.image, "imagePullPolicy": "IfNotPresent", "command": line, "env": env,
		"volumeMounts": mounts, "resources": resourcesObject(c.resources),
		"terminationMessagePolicy": "FallbackToLogsOnError",
		"securityContext": object{
			"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": object{"drop": list{"ALL"}},
		},
		"livenessProbe":  c.probe(c.live, 10, 15, 8),
		"readinessProbe": c.probe(c.ready, 5, 15, 3),
	}
	if c.noStartup {
		container["livenessProbe"].(object)["initialDelaySeconds"] = 15
	} else {
		// Every second, so that what waits for it goes on at once; it may take five minutes, as on a slow disk.
		container["startupProbe"] = c.probe(c.live, 1, 15, 300)
	}
	annotations := object{}
	for k, v := range c.versions {
		annotations[k] = v
	}
	user := userOf(c.name)
	pod := object{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": object{
			"name": c.name, "namespace": "kube-system", "annotations": annotations,
			"labels": object{"component": c.name, "k8s-app": c.name, "tier": "control-plane"},
		},
		"spec": object{
			"hostNetwork": true, "priorityClassName": "system-cluster-critical", "priority": 2000000000,
			"securityContext": object{
				"runAsNonRoot": true, "runAsUser": user, "runAsGroup": user, "seccompProfile": object{"type": "RuntimeDefault"},
			},
			"tolerations": list{object{"operator": "Exists", "effect": "NoExecute"}},
			"containers":  list{container}, "volumes": volumes,
		},
	}
	if c.grace > 0 {
		pod["spec"].(object)["terminationGracePeriodSeconds"] = c.grace
	}
	return pod
}

// probe asks where the component listens: its arguments may say so. kubelet asks without credentials; where nobody may do that it
// only connects, since it would kill the component for the refusal.
func (c component) probe(path string, period, timeout, failures int) object {
	port := c.port
	if n, err := strconv.Atoi(argument(c.line, "secure-port")); err == nil {
		port = n
	}
	host := "127.0.0.1"
	if a, err := netip.ParseAddr(argument(c.line, "bind-address")); err == nil && !a.IsUnspecified() {
		host = a.String()
	}
	out := object{"periodSeconds": period, "timeoutSeconds": timeout, "failureThreshold": failures}
	if c.connectOnly {
		out["tcpSocket"] = object{"host": host, "port": port}
	} else {
		out["httpGet"] = object{"host": host, "path": path, "port": port, "scheme": "HTTPS"}
	}
	return out
}

// mayAnyoneAsk reports whether the API server answers callers without credentials at both paths of its probes.
func mayAnyoneAsk(s kube.APIServerConfig, c kube.AuthenticationConfig) bool {
	anonymous, ok := c.Config["anonymous"].(object)
	if !s.UseAuthenticationConfig || !ok {
		return argument(s.Args, "anonymous-auth") != "false"
	}
	conditions, _ := anonymous["conditions"].(list)
	if anonymous["enabled"] != true || len(conditions) == 0 {
		return anonymous["enabled"] == true
	}
	open := map[any]bool{}
	for _, v := range conditions {
		if m, ok := v.(object); ok {
			open[m["path"]] = true
		}
	}
	return open["/livez"] && open["/readyz"]
}

func resourcesObject(r kube.Resources) object {
	out := object{}
	for key, values := range map[string]map[string]string{"requests": r.Requests, "limits": r.Limits} {
		if len(values) == 0 {
			continue
		}
		o := object{}
		for k, q := range values {
			o[k] = q
		}
		out[key] = o
	}
	return out
}

// versionsOf are the annotations of a component.
func versionsOf(name, config string, s kube.SecretsStatus, c kube.ConfigStatus, withConfigs bool) map[string]string {
	out := map[string]string{kube.ConfigVersion: config, kube.SecretsVersion: partOf(s.Version, name)}
	if withConfigs {
		out[kube.ConfigFileVersion] = partOf(c.Version, name)
	}
	return out
}
