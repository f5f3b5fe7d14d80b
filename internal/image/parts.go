package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"talos.internal/internal/image/debian"
	"talos.internal/internal/image/rootfs"
	"talos.internal/internal/image/sbom"
)

// The users by name, for programs that look theirs up. Each has a group of its own name and number.
const users = `root:x:0:0:root:/:/nonexistent
etcd:x:60:60:etcd:/:/nonexistent
nonroot:x:65532:65532:nonroot:/:/nonexistent
kube-apiserver:x:65534:65534:kube-apiserver:/:/nonexistent
kube-controller-manager:x:65535:65535:kube-controller-manager:/:/nonexistent
kube-scheduler:x:65536:65536:kube-scheduler:/:/nonexistent
`

const groups = `root:x:0:
etcd:x:60:
nonroot:x:65532:
kube-apiserver:x:65534:
kube-controller-manager:x:65535:
kube-scheduler:x:65536:
`

// base is the layer that nearly all images have.
func (b *Builder) base(ctx context.Context) (*part, error) {
	picked, err := debian.Pick(ctx, b.Debian, []debian.Want{caBundle})
	if err != nil {
		return nil, err
	}
	p := &part{items: debianItems(picked)}
	var bundle bytes.Buffer
	for _, e := range picked.Tree.Entries() {
		switch {
		case strings.HasSuffix(e.Path, ".crt"): // sorted by path, as Debian's update-ca-certificates does
			if err := appendTo(&bundle, e); err != nil {
				return nil, err
			}
		case strings.HasPrefix(e.Path, "usr/share/doc/") && e.Mode.IsRegular():
			if err := p.tree.Add(e); err != nil {
				return nil, err
			}
		}
	}
	if bundle.Len() == 0 {
		return nil, fmt.Errorf("%s of %s has no certificates: %w", caBundle.Path, caBundle.Package, fs.ErrNotExist)
	}
	return p, p.tree.Add(
		rootfs.Bytes("etc/ssl/certs/ca-certificates.crt", 0o644, bundle.Bytes()),
		rootfs.Bytes("etc/passwd", 0o644, []byte(users)),
		rootfs.Bytes("etc/protocols", 0o644, []byte(protocols)),
		rootfs.Bytes("etc/group", 0o644, []byte(groups)),
		rootfs.Dir("tmp", 0o777|fs.ModeSticky),
	)
}

func appendTo(w *bytes.Buffer, e rootfs.Entry) error {
	r, err := e.Open()
	if err != nil {
		return err
	}
	_, err = w.ReadFrom(r)
	if !bytes.HasSuffix(w.Bytes(), []byte("\n")) {
		w.WriteByte('\n')
	}
	return errors.Join(err, r.Close())
}

// tools is the layer of the tools of those names.
func (b *Builder) tools(ctx context.Context, names []string) (*part, error) {
	wants := make([]debian.Want, len(names))
	for i, name := range names {
		t, ok := tool(name)
		if !ok {
			return nil, fmt.Errorf("tool %s is not in the list of tools", name)
		}
		wants[i] = debian.Want{Package: t.Package, Path: t.Path}
	}
	picked, err := debian.Pick(ctx, b.Debian, wants)
	if err != nil {
		return nil, err
	}
	return &part{tree: picked.Tree, items: debianItems(picked)}, nil
}

func debianItems(picked *debian.Picked) []sbom.Item {
	var items []sbom.Item
	for _, u := range picked.Used {
		item := sbom.Item{
			Name: u.Name, Version: u.Version, Purpose: sbom.Library, PURL: sbom.Debian(u.Name, u.Version, u.Arch),
			Licence: u.Licence.Expression, From: "Debian",
		}
		for _, t := range u.Licence.Texts {
			item.Texts = append(item.Texts, sbom.Text(t))
		}
		items = append(items, item)
	}
	return items
}

// lowPorts is security.capability with CAP_NET_BIND_SERVICE permitted and effective: struct vfs_cap_data, revision 2,
// of linux/capability.h. It is what setcap cap_net_bind_service=+ep writes.
const lowPorts = "\x01\x00\x00\x02" + "\x00\x04\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"

// component is the layer of programs of one component, with the licence texts of all that is linked into them.
func (b *Builder) component(name string, programs []Program) (*part, error) {
	known, ok := b.Components[name]
	if !ok {
		return nil, fmt.Errorf("component %s is not known", name)
	}
	dir := known.Dir
	licences, err := readLicences(dir)
	if err != nil {
		return nil, fmt.Errorf("component %s: %w", name, err)
	}
	p := &part{}
	for _, program := range programs {
		file := filepath.Join(dir, program.File)
		e, err := rootfs.Host(program.Path, 0o755, file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is not built: %w", file, err)
		}
		if err != nil {
			return nil, err
		}
		if program.LowPorts {
			e.Xattrs = map[string]string{"security.capability": lowPorts}
		}
		item, err := describe(file, licences)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		item.Name, item.Version, item.Licence = program.File, known.Version, spdxLicence(known.Licence)
		if err := p.tree.Add(e); err != nil {
			return nil, err
		}
		p.items = append(p.items, item)
	}
	for _, text := range []string{"LICENSE", "NOTICE", "NOTICES.txt"} {
		e, err := rootfs.Host("usr/share/doc/"+name+"/"+text, 0o644, filepath.Join(dir, text))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not every component has each of them
		}
		if err := errors.Join(err, p.tree.Add(e)); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func readLicences(dir string) (map[string]string, error) {
	f, err := os.Open(filepath.Join(dir, "modules.txt"))
	if err != nil {
		return nil, fmt.Errorf("not built: %w", err)
	}
	defer f.Close()
	licences, err := sbom.ParseLicences(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return licences, nil
}

// describe reads what a program is made of.
func describe(file string, licences map[string]string) (sbom.Item, error) {
	f, err := os.Open(file)
	if err != nil {
		return sbom.Item{}, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return sbom.Item{}, err
	}
	parts, err := sbom.Modules(f, licences)
	return sbom.Item{Purpose: sbom.Application, SHA256: hex.EncodeToString(sum.Sum(nil)), Parts: parts}, err
}

// spdxLicence leaves out what SPDX would want a text for: the licence of our own programs.
func spdxLicence(licence string) string {
	if strings.HasPrefix(licence, "LicenseRef-") {
		return ""
	}
	return licence
}

// protocols is protocols(5): the names by which nft prints what it reads from the kernel. kube-proxy compares these with its own words for
// what its maps should have, "udp" and not 17. Without the file, one that was started again took all services for leftovers, and removed
// them.
const protocols = `icmp 1 ICMP
igmp 2 IGMP
tcp 6 TCP
udp 17 UDP
dccp 33 DCCP
gre 47 GRE
esp 50 IPSEC-ESP
ah 51 IPSEC-AH
ipv6-icmp 58 IPv6-ICMP
sctp 132 SCTP
udplite 136 UDPLite
`
