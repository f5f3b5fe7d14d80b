package kubectrl

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"talos.internal/config/kubedoc"
	"talos.internal/resource/arguments"
	"talos.internal/resource/kube"
	"talos.internal/resource/secrets"
)

// flags are arguments by name, without hyphens.
type flags map[string][]string

// additive are the arguments to which a config adds, instead of replacing what the system gives.
var additive = []string{"enable-admission-plugins", "disable-admission-plugins", "feature-gates", "authorization-mode"}

// flagName is the name of an argument as components know it: they read "_" as "-".
func flagName(name string) string { return strings.ReplaceAll(name, "_", "-") }

// commandLine lays the arguments of a config over those of the system, and returns the program with all of them in order. It
// refuses those that the system relies on, all at once.
func commandLine(component string, own flags, extra map[string]arguments.Values) ([]string, error) {
	all := maps.Clone(own)
	var refused []error
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if err := kubedoc.DeniedArg(component, name); err != nil {
			refused = append(refused, err)
			continue
		}
		flag, values := flagName(name), extra[name].Values
		if slices.Contains(additive, flag) && len(all[flag]) > 0 {
			values = []string{union(slices.Concat(all[flag], values))}
		}
		all[flag] = values
	}
	if err := errors.Join(refused...); err != nil {
		return nil, err
	}
	line := []string{"/usr/local/bin/" + component}
	for _, flag := range slices.Sorted(maps.Keys(all)) {
		for _, v := range all[flag] {
			line = append(line, "--"+flag+"="+v)
		}
	}
	return line, nil
}

// union joins lists that are separated by commas, each element once.
func union(lists []string) string {
	var out []string
	for _, list := range lists {
		for v := range strings.SplitSeq(list, ",") {
			if v = strings.TrimSpace(v); v != "" && !slices.Contains(out, v) {
				out = append(out, v)
			}
		}
	}
	return strings.Join(out, ",")
}

// argument returns the value that a command line gives to a flag, the last one as the component takes it; empty if none.
func argument(line []string, flag string) string {
	value := ""
	for _, a := range line {
		if v, ok := strings.CutPrefix(a, "--"+flag+"="); ok {
			value = v
		}
	}
	return value
}

// apiServerArgs returns the command line of kube-apiserver (contract.md, section 6.2).
func apiServerArgs(c kube.APIServerConfig, root secrets.KubernetesRoot, d Deps) ([]string, error) {
	secret := func(name string) []string { return []string{d.Secrets + "/" + apiServerName + "/" + name} }
	config := func(name string) []string { return []string{d.Configs + "/" + apiServerName + "/" + name} }
	own := flags{
		"admission-control-config-file":      config(admissionFile),
		"advertise-address":                  {c.AdvertisedAddress},
		"allow-privileged":                   {"true"},
		"api-audiences":                      {strings.Join(root.APIAudiences, ",")},
		"audit-log-maxage":                   {"30"},
		"audit-log-maxbackup":                {"10"},
		"audit-log-maxsize":                  {"100"},
		"audit-log-path":                     {auditDir + "/kube-apiserver.log"},
		"audit-policy-file":                  config(auditFile),
		"authorization-config":               config(authorizationFile),
		"bind-address":                       {bindAddress(c.ServiceCIDRs)},
		"client-ca-file":                     secret("ca.crt"),
		"enable-admission-plugins":           {"NodeRestriction"},
		"enable-bootstrap-token-auth":        {"true"},
		"encryption-provider-config":         secret(encryptionFile),
		"etcd-cafile":                        secret("etcd-client-ca.crt"),
		"etcd-certfile":                      secret("etcd-client.crt"),
		"etcd-keyfile":                       secret("etcd-client.key"),
		"etcd-servers":                       {strings.Join(c.EtcdServers, ",")},
		"kubelet-client-certificate":         secret("apiserver-kubelet-client.crt"),
		"kubelet-client-key":                 secret("apiserver-kubelet-client.key"),
		"kubelet-preferred-address-types":    {"InternalIP,ExternalIP,Hostname"},
		"profiling":                          {"false"},
		"proxy-client-cert-file":             secret("front-proxy-client.crt"),
		"proxy-client-key-file":              secret("front-proxy-client.key"),
		"requestheader-client-ca-file":       secret("aggregator-ca.crt"),
		"requestheader-extra-headers-prefix": {"X-Remote-Extra-"},
		"requestheader-group-headers":        {"X-Remote-Group"},
		"requestheader-username-headers":     {"X-Remote-User"},
		// Without names any certificate of that authority could speak for anyone; and where the two authorities are one, the API
		// server does not start.
		"requestheader-allowed-names":      {frontProxyName},
		"secure-port":                      {strconv.FormatInt(c.LocalPort, 10)},
		"service-account-issuer":           issuers(root),
		"service-account-key-file":         secret("service-account.pub"),
		"service-account-signing-key-file": secret("service-account.key"),
		"service-cluster-ip-range":         {strings.Join(c.ServiceCIDRs, ",")},
		"tls-cert-file":                    secret("apiserver.crt"),
		"tls-min-version":                  {"VersionTLS13"},
		"tls-private-key-file":             secret("apiserver.key"),
	}
	if len(root.APIAudiences) == 0 {
		delete(own, "api-audiences")
	}
	if c.UseAuthenticationConfig {
		own["authentication-config"] = config(authenticationFile)
	}
	// The API server takes either the file or these arguments.
	for name := range c.ExtraArgs {
		flag := flagName(name)
		if flag == "authorization-mode" || strings.HasPrefix(flag, "authorization-webhook-") || flag == "authorization-policy-file" {
			delete(own, "authorization-config")
			own["authorization-mode"] = []string{"Node,RBAC"}
		}
	}
	return commandLine(apiServerName, own, c.ExtraArgs)
}

// issuers are those whose tokens are believed; the first signs.
func issuers(root secrets.KubernetesRoot) []string {
	issuer := root.IssuerURL
	if issuer == "" {
		issuer = root.Endpoint.String()
	}
	return slices.Concat([]string{issuer}, root.AcceptedIssuers)
}

// bindAddress is all addresses, of both families if the cluster has IPv6.
func bindAddress(cidrs []string) string {
	if slices.ContainsFunc(cidrs, func(c string) bool { return strings.Contains(c, ":") }) {
		return "::"
	}
	return "0.0.0.0"
}

// local are the arguments that the controller manager and the scheduler have in common. They serve their state on loopback only,
// with a certificate that they make themselves. With the authorities given they need not ask the API server for them, which may not
// be there yet when they start.
func local(name string, d Deps) flags {
	secret := func(file string) []string { return []string{d.Secrets + "/" + name + "/" + file} }
	return flags{
		"authentication-kubeconfig":    secret("kubeconfig"),
		"authorization-kubeconfig":     secret("kubeconfig"),
		"bind-address":                 {"127.0.0.1"},
		"client-ca-file":               secret("ca.crt"),
		"requestheader-allowed-names":  {frontProxyName},
		"requestheader-client-ca-file": secret("aggregator-ca.crt"),
		"tls-min-version":              {"VersionTLS13"},
	}
}

// controllerManagerArgs returns the command line of kube-controller-manager. Each of its forty controllers asks for a token of its own
// before it begins: with the 20 calls a second that are the default they begin one by one, for five seconds in a cluster that starts.
func controllerManagerArgs(c kube.ControllerManagerConfig, d Deps) ([]string, error) {
	own := local(controllerManagerName, d)
	secret := func(file string) []string { return []string{d.Secrets + "/" + controllerManagerName + "/" + file} }
	maps.Copy(own, flags{
		"allocate-node-cidrs":              {"true"},
		"cluster-cidr":                     {strings.Join(c.PodCIDRs, ",")},
		"cluster-signing-cert-file":        secret("signing-ca.crt"),
		"cluster-signing-key-file":         secret("signing-ca.key"),
		"configure-cloud-routes":           {"false"},
		"controllers":                      {"*,tokencleaner"},
		"kubeconfig":                       secret("kubeconfig"),
		"kube-api-burst":                   {"200"},
		"kube-api-qps":                     {"100"},
		"leader-elect":                     {"true"},
		"profiling":                        {"false"},
		"root-ca-file":                     secret("ca.crt"),
		"service-account-private-key-file": secret("service-account.key"),
		"service-cluster-ip-range":         {strings.Join(c.ServiceCIDRs, ",")},
		"use-service-account-credentials":  {"true"},
	})
	if c.CloudProvider != "" {
		own["cloud-provider"] = []string{c.CloudProvider}
	}
	// A size for a family that pods do not have is refused.
	if c.NodeCIDRMaskSizeIPv4 != 0 {
		own["node-cidr-mask-size-ipv4"] = []string{strconv.FormatInt(c.NodeCIDRMaskSizeIPv4, 10)}
	}
	if c.NodeCIDRMaskSizeIPv6 != 0 {
		own["node-cidr-mask-size-ipv6"] = []string{strconv.FormatInt(c.NodeCIDRMaskSizeIPv6, 10)}
	}
	return commandLine(controllerManagerName, own, c.ExtraArgs)
}

// schedulerArgs returns the command line of kube-scheduler. All that its config file can say is there.
func schedulerArgs(c kube.SchedulerConfig, d Deps) ([]string, error) {
	own := local(schedulerName, d)
	own["config"] = []string{d.Configs + "/" + schedulerName + "/" + schedulerFile}
	return commandLine(schedulerName, own, c.ExtraArgs)
}

// schedulerConfig is a config's KubeSchedulerConfiguration with what the system sets.
func schedulerConfig(c map[string]any, d Deps) map[string]any {
	out := map[string]any{"enableProfiling": false}
	maps.Copy(out, c)
	out["apiVersion"], out["kind"] = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"
	connection := map[string]any{}
	if have, ok := out["clientConnection"].(map[string]any); ok {
		connection = maps.Clone(have)
	}
	connection["kubeconfig"] = d.Secrets + "/" + schedulerName + "/kubeconfig"
	out["clientConnection"] = connection
	return out
}
