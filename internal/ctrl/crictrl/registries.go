package crictrl

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/container"
	"talos.internal/internal/effective"
	"talos.internal/internal/registryd"
	"talos.internal/resource"
	"talos.internal/resource/cri"
	"talos.internal/resource/secrets"
	"talos.internal/state"
)

// anyRegistry is the mirror of every registry that has none of its own.
const anyRegistry = "*"

// cacheEndpoint is the node's own image cache.
var cacheEndpoint = cri.RegistryEndpoint{URL: "http://" + registryd.Address}

// RegistriesConfigController puts together how registries are reached. The image cache is the first mirror of all while it is
// served.
type RegistriesConfigController struct{}

// Name implements [controller.Controller].
func (RegistriesConfigController) Name() string { return "cri.RegistriesConfigController" }

// Inputs implements [controller.Controller].
func (RegistriesConfigController) Inputs() []controller.Input {
	return []controller.Input{configInput(), controller.Weak[cri.ImageCacheConfig]().Named(cri.ImageCacheConfigID), controller.DestroyReady[cri.RegistryConfig]()}
}

// Outputs implements [controller.Controller].
func (RegistriesConfigController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[cri.RegistryConfig]()}
}

// Run implements [controller.Controller].
func (RegistriesConfigController) Run(ctx context.Context, rt controller.Runtime, _ *slog.Logger) error {
	return controller.Loop(ctx, rt, func(ctx context.Context) error {
		c, err := effective.Get(ctx, rt)
		if err != nil {
			return err
		}
		if c == nil {
			rt.TrackOutputs()
			return rt.CleanupOutputs(ctx, resource.KindOf[cri.RegistryConfig]())
		}
		cache, _, err := state.Find[cri.ImageCacheConfig](ctx, rt, cri.ImageCacheConfigID)
		if err != nil {
			return err
		}
		return state.Put(ctx, rt, cri.RegistryConfigID, registriesOf(c.Set, cache.Status == cri.CacheReady))
	})
}

// registriesOf puts the documents together.
func registriesOf(set schema.Set, cache bool) cri.RegistryConfig {
	out := cri.RegistryConfig{Mirrors: map[string]cri.RegistryMirror{}, Auths: map[string]cri.RegistryAuth{}, TLS: map[string]cri.RegistryTLS{}}
	for _, d := range schema.All[*sysdoc.RegistryMirrorConfig](set) {
		m := cri.RegistryMirror{SkipFallback: d.SkipFallback}
		for _, e := range d.Endpoints {
			m.Endpoints = append(m.Endpoints, cri.RegistryEndpoint{URL: e.URL.String(), OverridePath: e.OverridePath})
		}
		out.Mirrors[d.Name] = m
	}
	for _, d := range schema.All[*sysdoc.RegistryAuthConfig](set) {
		out.Auths[d.Name] = cri.RegistryAuth{Username: d.Username, Password: d.Password, Auth: d.Auth, IdentityToken: d.IdentityToken}
	}
	for _, d := range schema.All[*sysdoc.RegistryTLSConfig](set) {
		t := cri.RegistryTLS{CA: resource.Base64(d.CA), InsecureSkipVerify: d.InsecureSkipVerify}
		if d.ClientIdentity != nil {
			t.ClientIdentity = &secrets.CertificateAndKey{Crt: resource.Base64(d.ClientIdentity.Cert), Key: resource.Base64(d.ClientIdentity.Key)}
		}
		out.TLS[d.Name] = t
	}
	if cache {
		if _, ok := out.Mirrors[anyRegistry]; !ok {
			out.Mirrors[anyRegistry] = cri.RegistryMirror{}
		}
		for name, m := range out.Mirrors {
			m.Endpoints = append([]cri.RegistryEndpoint{cacheEndpoint}, m.Endpoints...)
			out.Mirrors[name] = m
		}
	}
	return out
}

// credentialsFor returns what a registry or a mirror is shown. Docker's registry has another host than its images' names.
func credentialsFor(c cri.RegistryConfig, host string) (user, password string, err error) {
	a, ok := c.Auths[host]
	if !ok && host == dockerHost {
		a, ok = c.Auths[dockerName]
	}
	switch {
	case !ok:
		return "", "", nil
	case a.IdentityToken != "":
		return "", a.IdentityToken, nil
	case a.Auth != "":
		b, err := base64.StdEncoding.DecodeString(a.Auth)
		user, password, ok := strings.Cut(string(b), ":")
		if err != nil || !ok {
			return "", "", fmt.Errorf("credentials for registry %s: the key auth is not USER:PASSWORD in base64", host)
		}
		return user, password, nil
	}
	return a.Username, a.Password, nil
}

const (
	dockerName = "docker.io"
	dockerHost = "registry-1.docker.io"
)

// Credentials returns what container.Client needs for pulls of its own: the credentials that the machine config has at the time.
func Credentials(st state.Reader) container.Credentials {
	return func(host string) (string, string, error) {
		c, _, err := state.Find[cri.RegistryConfig](context.Background(), st, cri.RegistryConfigID)
		if err != nil {
			return "", "", err
		}
		return credentialsFor(c, host)
	}
}
