package provision

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
)

// ImageCache is where a node in a container has the image cache: an OCI image layout (see internal/image/oci), read-only. It
// stands on the tmpfs of /system and is there before PID 1 starts; where it is not, the node has none.
const ImageCache = "/system/imagecache"

// maxVariable is the length that the kernel takes for one variable, its name included (MAX_ARG_STRLEN of linux/binfmts.h).
const maxVariable = 128 << 10

// maxConfig bounds what a config is unpacked to.
const maxConfig = 16 << 20

const userdata = "USERDATA="

// Environment returns the variables that a node in a container is told by what it is (contract.md, 7.1). The config is base64,
// and of gzip (RFC 1952) if it does not get through otherwise, as with the inline manifests of a CNI. The error wraps
// ErrInvalid if it is too long even then.
func Environment(n StateNode, config []byte) ([]string, error) {
	data := userdata + base64.StdEncoding.EncodeToString(config)
	if len(data) >= maxVariable {
		var b bytes.Buffer
		z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is one that there is
		_, err := z.Write(config)
		if err = errors.Join(err, z.Close()); err != nil {
			return nil, err
		}
		data = userdata + base64.StdEncoding.EncodeToString(b.Bytes())
	}
	if len(data) >= maxVariable {
		return nil, fmt.Errorf("config of node %s: %w: it is %d bytes, compressed and encoded %d; at most %d get to the node",
			n.Name, ErrInvalid, len(config), len(data), maxVariable-1)
	}
	return []string{"PLATFORM=container", "TALOSSKU=" + sku(n), data}, nil
}

// sku is what the machine is called, as published: 2CPU-2048RAM. Without limits the parts are left out.
func sku(n StateNode) string {
	var parts []string
	if n.CPUs > 0 {
		parts = append(parts, strconv.FormatFloat(n.CPUs, 'g', -1, 64)+"CPU")
	}
	if n.Memory > 0 {
		parts = append(parts, strconv.FormatInt(n.Memory>>20, 10)+"RAM")
	}
	return strings.Join(parts, "-")
}

// ConfigOf returns the config that a node has in its environment. The error is fs.ErrNotExist if there is none.
func ConfigOf(env []string) ([]byte, error) {
	for _, v := range env {
		text, ok := strings.CutPrefix(v, userdata)
		if !ok {
			continue
		}
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil, fmt.Errorf("read the variable USERDATA: %w", err)
		}
		if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			return data, nil
		}
		z, err := gzip.NewReader(bytes.NewReader(data))
		if err == nil {
			data, err = io.ReadAll(io.LimitReader(z, maxConfig))
		}
		if err != nil {
			return nil, fmt.Errorf("unpack the variable USERDATA: %w", err)
		}
		return data, nil
	}
	return nil, fmt.Errorf("there is no variable USERDATA: %w", fs.ErrNotExist)
}
