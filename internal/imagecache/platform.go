package imagecache

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/distribution/reference"
	imagespec "github.com/opencontainers/image-spec/specs-go/v1"
)

// parsePlatform reads OS/ARCHITECTURE or OS/ARCHITECTURE/VARIANT.
func parsePlatform(text string) (imagespec.Platform, error) {
	parts := strings.Split(text, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return imagespec.Platform{}, fmt.Errorf("platform %q: want OS/ARCHITECTURE such as linux/amd64: %w", text, fs.ErrInvalid)
	}
	p := imagespec.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}

// matches reports whether a manifest for p serves a machine of the wanted platform. Without a variant any is meant; arm64 has one
// only, which may be left out.
func matches(want imagespec.Platform, p *imagespec.Platform) bool {
	if p == nil || p.OS != want.OS || p.Architecture != want.Architecture {
		return false
	}
	return want.Variant == "" || want.Variant == p.Variant || want.Architecture == "arm64" && want.Variant == "v8" && p.Variant == ""
}

// wanted returns the manifests of an index that are for the platforms. Those without a platform, or for unknown/unknown, are not
// images to run: they say how one was built.
func (c *collector) wanted(all []imagespec.Descriptor) []imagespec.Descriptor {
	return slices.DeleteFunc(slices.Clone(all), func(d imagespec.Descriptor) bool {
		return !slices.ContainsFunc(c.platforms, func(p imagespec.Platform) bool { return matches(p, d.Platform) })
	})
}

func platformName(p *imagespec.Platform) string {
	if p == nil {
		return "no platform"
	}
	name := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		name += "/" + p.Variant
	}
	return name
}

// repositoryOf is the part of a full reference before the tag or the digest; empty if there is none.
func repositoryOf(ref string) string {
	named, err := reference.ParseNamed(ref)
	if err != nil {
		return ""
	}
	return named.Name()
}
