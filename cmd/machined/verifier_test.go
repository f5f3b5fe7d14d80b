package main

import (
	"errors"
	"strings"
	"testing"

	"talos.internal/api/machinepb"
)

func TestVerifyImageIsAnsweredAsContainerdExpects(t *testing.T) {
	const name, digest = "registry.example.com/app:v1", "sha256:aa"
	args := []string{"-name", name, "-digest", digest, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json"}
	for _, tc := range []struct {
		name   string
		args   []string
		answer *machinepb.ImageServiceVerifyResponse
		err    error
		want   string // reason, or what is in the error
		ok     bool
	}{
		{"signed", args, &machinepb.ImageServiceVerifyResponse{Verified: true, Message: "signed", DigestedImageRef: "registry.example.com/app@" + digest}, nil, "signed", true},
		{"nothing asked", args, &machinepb.ImageServiceVerifyResponse{Verified: true, Message: "no rule"}, nil, "no rule", true},
		{"refused", args, &machinepb.ImageServiceVerifyResponse{Message: "no signature"}, nil, "no signature", false},
		{"another digest", args, &machinepb.ImageServiceVerifyResponse{Verified: true, DigestedImageRef: "registry.example.com/app@sha256:bb"}, nil, "pull it again", false},
		{"no answer", args, nil, errors.New("down"), "verify registry.example.com/app:v1: down", false},
		{"without a name", []string{"-digest", digest}, nil, nil, "must be given", false},
		{"another flag", []string{"-x"}, nil, nil, "not defined", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := verifyImage(tc.args, func(ref string) (*machinepb.ImageServiceVerifyResponse, error) {
				if ref != name {
					t.Errorf("it asks about %q; want %q", ref, name)
				}
				return tc.answer, tc.err
			})
			if (err == nil) != tc.ok || tc.ok && got != tc.want || !tc.ok && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("verifyImage = %q, %v; want %q, success: %t", got, err, tc.want, tc.ok)
			}
		})
	}
}
