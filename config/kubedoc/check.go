package kubedoc

import (
	"talos.internal/config/schema"
)

// Check reports what is wrong between the documents of this package, and those rules that depend on the machine's
// role.
func Check(c *schema.Check) {
	schema.Each(c, func(d *KubeAPIServerCAConfig, r *schema.Reporter) { checkAPIServerCA(c, d, r) })
	schema.Each(c, func(d *KubeNodeConfig, r *schema.Reporter) {
		if c.Role == schema.Worker {
			checkWorkerLabels(d, r)
		}
	})
	schema.Each(c, func(d *KubePrismConfig, r *schema.Reporter) { checkPrismPort(c, d, r) })
	checkAuthorizers(c)
}

// checkAPIServerCA keeps the authority's key off workers, and wants encryption where the authority is.
func checkAPIServerCA(c *schema.Check, d *KubeAPIServerCAConfig, r *schema.Reporter) {
	switch c.Role {
	case schema.Worker:
		if d.IssuingCA != nil && d.IssuingCA.Key != "" {
			r.At("issuingCA").At("key").Hintf("move the certificate to acceptedCAs and take the key out",
				"a worker may not have the private key of the cluster's authority")
		}
	case schema.ControlPlane:
		if d.IssuingCA == nil || d.IssuingCA.Key == "" {
			r.At("issuingCA").Hintf("give the certificate and the private key of the cluster's authority",
				"a control plane node signs certificates and needs the key %q with cert and key", "issuingCA")
		}
		if _, ok := schema.Find[*KubeEtcdEncryptionConfig](c.Set); !ok && d.IssuingCA != nil {
			r.Hintf("add a KubeEtcdEncryptionConfig document",
				"a control plane node with the cluster's authority needs encryption of what is in etcd")
		}
	}
}

func checkWorkerLabels(d *KubeNodeConfig, r *schema.Reporter) {
	for _, k := range sortedKeys(d.Labels) {
		if restrictedLabel(k) {
			r.At("labels").At(k).Warnf("set it from outside, as with kubectl label",
				"the API server does not let a worker set the label %s on itself", k)
		}
	}
}

// checkPrismPort reports a port that the API server on the same node takes: it listens on all addresses.
func checkPrismPort(c *schema.Check, d *KubePrismConfig, r *schema.Reporter) {
	server, ok := schema.Find[*KubeAPIServerConfig](c.Set)
	if ok && server.APIPortOrDefault() == d.Port {
		r.At("port").Hintf("take another port, such as 7445", "the API server listens on port %d too", d.Port)
	}
}

// checkAuthorizers reports a second authorizer of a type that the API server takes once.
func checkAuthorizers(c *schema.Check) {
	first := map[string]string{}
	schema.Each(c, func(d *KubeAuthorizerConfig, r *schema.Reporter) {
		if d.Type == "Webhook" {
			return
		}
		if name, twice := first[d.Type]; twice {
			r.At("type").Errorf("there is an authorizer of type %s already: %s", d.Type, name)
			return
		}
		first[d.Type] = d.Name
	})
}
