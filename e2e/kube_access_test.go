package e2e

import (
	"context"
	"fmt"
	"strings"

	"talos.internal/internal/buildinfo"
)

// machineAccess lets pods of the namespace default be readers of the machine API.
const machineAccess = `
apiVersion: v1alpha1
kind: KubeTalosAPIAccessConfig
allowedRoles: [os:reader]
allowedKubernetesNamespaces: [default]
`

// tsa is an object that asks for a role.
func tsa(namespace, name, role string) string {
	return `
apiVersion: talos.dev/v1alpha1
kind: ServiceAccount
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec: {roles: ['` + role + `']}
`
}

// machineAPI has a pod call the API of both machines with what an account of its namespace was given. Other roles and other namespaces
// get nothing, and are told why.
func (c *kubeLab) machineAPI(api kubeAPI) {
	c.importProbe()
	const caller = `
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: default}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers:
  - {name: probe, image: ` + probeRef + `, imagePullPolicy: Never, args: [serve], volumeMounts: [{name: talos-secrets, mountPath: /var/run/secrets/talos.dev}]}
  volumes:
  - {name: talos-secrets, secret: {secretName: reader}}
`
	c.apply(tsa("default", "reader", "os:reader") + "---" + tsa("default", "admin", "os:admin") + "---" + tsa("kube-system", "elsewhere", "os:reader") +
		"---" + strings.Replace(caller, "NODE", c.worker().Name, 1))
	c.podReady(api, "default", "caller")
	for _, n := range c.nodes {
		want := "version " + buildinfo.Version + "\nread PermissionDenied\n"
		c.wait("the pod to read "+n.Name+" and no more", func(context.Context) error {
			out, errs, err := c.run("", "exec", "caller", "--", "/probe", "machine", n.Address.String())
			if err != nil || out != want {
				return fmt.Errorf("kubectl exec: %w: %s%s; want %q", err, out, errs, want)
			}
			return nil
		})
	}
	for what, want := range map[string]string{
		"admin -n default": "roles that are not allowed: os:admin", "elsewhere -n kube-system": `namespace "kube-system" is not allowed`,
	} {
		args := strings.Fields(what)
		c.wait("a refusal of "+what, func(context.Context) error {
			out, errs, err := c.run("", append([]string{"get", "tsa", "-o", "jsonpath={.status.failureReason}"}, args...)...)
			if err != nil || !strings.Contains(out, want) {
				return fmt.Errorf("%q, %w: %s; want %q", out, err, errs, want)
			}
			return nil
		})
		if out, _, err := c.run("", append([]string{"get", "secret"}, args...)...); err == nil {
			c.t.Errorf("there is a Secret for %s: %s", what, out)
		}
	}
}
