package kubeupgrade

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"talos.internal/config/defaults"
)

// version is a version of Kubernetes 1.x.
type version struct {
	minor, patch int
	pre          string // such as "rc.1"; "" for a release
}

// skew is how many minor versions a kubelet may be older than the API server (Kubernetes' version skew policy).
const skew = 3

// parseVersion reads a version such as 1.37.2 or v1.37.2.
func parseVersion(text string) (version, error) {
	bad := fmt.Errorf("expected a version of Kubernetes such as %s, got %q", defaults.Kubernetes, text)
	core, pre, isPre := strings.Cut(strings.TrimPrefix(text, "v"), "-")
	parts := strings.Split(core, ".")
	if len(parts) != 3 || parts[0] != "1" || isPre && pre == "" {
		return version{}, bad
	}
	var numbers [2]int
	for i, p := range parts[1:] {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 || strconv.Itoa(n) != p {
			return version{}, bad
		}
		numbers[i] = n
	}
	return version{numbers[0], numbers[1], pre}, nil
}

// String is the version with its "v".
func (v version) String() string {
	text := fmt.Sprintf("v1.%d.%d", v.minor, v.patch)
	if v.pre != "" {
		text += "-" + v.pre
	}
	return text
}

// compare orders versions: a release comes after what led to it.
func (v version) compare(o version) int {
	if c := cmp.Or(cmp.Compare(v.minor, o.minor), cmp.Compare(v.patch, o.patch)); c != 0 {
		return c
	}
	switch {
	case v.pre == o.pre:
		return 0
	case v.pre == "":
		return 1
	case o.pre == "":
		return -1
	}
	a, b := strings.Split(v.pre, "."), strings.Split(o.pre, ".")
	for i := range min(len(a), len(b)) {
		x, errX := strconv.Atoi(a[i])
		y, errY := strconv.Atoi(b[i])
		c := cmp.Compare(a[i], b[i])
		if errX == nil && errY == nil {
			c = cmp.Compare(x, y)
		}
		if c != 0 {
			return c
		}
	}
	return cmp.Compare(len(a), len(b))
}

// checkPath returns why Kubernetes cannot go from one version to another.
func checkPath(from, to version) error {
	if err := defaults.CheckKubernetes(strings.TrimPrefix(to.String(), "v")); err != nil {
		return fmt.Errorf("upgrade to %s: the machines do not know it: %w; upgrade the machines first", to, err)
	}
	switch d := to.minor - from.minor; {
	case d > 1:
		return fmt.Errorf("upgrade from %s to %s: one minor version at a time; go to v1.%d first", from, to, from.minor+1)
	case d < 0:
		return fmt.Errorf("go back from %s to %s: an older minor version may not read what the newer one has written; recover a snapshot of etcd that was made before", from, to)
	}
	return nil
}

// checkKubelet returns why the kubelet of a machine is too old for the new API server, or too new.
func checkKubelet(machine string, have, to version, upgrade bool) error {
	switch {
	case to.minor-have.minor > skew:
		return fmt.Errorf("the kubelet of %s is %s: an API server of %s works with kubelets of v1.%d and later; upgrade it first", machine, have, to, to.minor-skew)
	case have.compare(to) > 0 && !upgrade:
		return fmt.Errorf("the kubelet of %s is %s: it may not be newer than the API server; leave out --upgrade-kubelet=false", machine, have)
	}
	return nil
}

// tagOf returns the tag of an image, "" if it has none.
func tagOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	rest := image[strings.LastIndexByte(image, '/')+1:]
	_, tag, _ := strings.Cut(rest, ":")
	return tag
}

// repositoryOf returns an image without its tag and digest.
func repositoryOf(image string) string {
	image, _, _ = strings.Cut(image, "@")
	return strings.TrimSuffix(image, ":"+tagOf(image))
}
