package crictrl

import (
	"context"
	"fmt"

	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
	"talos.internal/controller"
	"talos.internal/internal/effective"
	"talos.internal/internal/signature"
	"talos.internal/resource/security"
	"talos.internal/state"
)

// verificationRules has the rules for signatures of images, each under its place.
func verificationRules() controller.Controller {
	return derived[security.ImageVerificationRule]{name: "security.ImageVerificationConfigController", derive: func(c *effective.Config) (map[string]security.ImageVerificationRule, error) {
		out := map[string]security.ImageVerificationRule{}
		for i, r := range rulesOf(c.Set) {
			out[fmt.Sprintf("%04d", i)] = r
		}
		return out, nil
	}}
}

// rulesOf returns the rules of a config in their order.
func rulesOf(set schema.Set) []security.ImageVerificationRule {
	doc, ok := schema.Find[*sysdoc.ImageVerificationConfig](set)
	if !ok {
		return nil
	}
	var out []security.ImageVerificationRule
	for _, r := range doc.Rules {
		rule := security.ImageVerificationRule{ImagePattern: r.Image, Skip: r.Skip, Deny: r.Deny}
		if k := r.Keyless; k != nil {
			rule.KeylessVerifier = &security.ImageKeylessVerifier{Issuer: k.Issuer.String(), Subject: k.Subject, SubjectRegex: k.SubjectRegex}
		}
		if k := r.PublicKey; k != nil {
			rule.PublicKeyVerifier = &security.ImagePublicKeyVerifier{Certificate: string(k.Certificate)}
		}
		out = append(out, rule)
	}
	return out
}

// Policy returns what container.Client needs to hold pulls to the rules. It reads them from the config itself: resources that are made
// of it may not be there yet when the first image is pulled.
func Policy(st state.Reader) func(ctx context.Context) (signature.Policy, error) {
	return func(ctx context.Context) (signature.Policy, error) {
		c, err := effective.Get(ctx, st)
		if err != nil || c == nil {
			return nil, err
		}
		return policyOf(rulesOf(c.Set)), nil
	}
}

func policyOf(rules []security.ImageVerificationRule) signature.Policy {
	var out signature.Policy
	for _, r := range rules {
		rule := signature.Rule{Pattern: r.ImagePattern, Skip: r.Skip, Deny: r.Deny}
		if k := r.PublicKeyVerifier; k != nil {
			rule.Key = k.Certificate
		}
		if k := r.KeylessVerifier; k != nil {
			rule.Identity = k.Subject
			if rule.Identity == "" {
				rule.Identity = k.SubjectRegex
			}
			rule.Identity += " of " + k.Issuer
		}
		out = append(out, rule)
	}
	return out
}
