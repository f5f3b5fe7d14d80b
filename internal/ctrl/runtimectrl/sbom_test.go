package runtimectrl

import (
	"os"
	"path/filepath"
	"testing"

	"talos.internal/controller/controllertest"
	"talos.internal/internal/image/sbom"
	"talos.internal/resource/runtime"
)

// The bills are those that images are built with: what package sbom writes is what the controller reads.
func TestBillsOfImagesBecomeItems(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, billDir), 0o755); err != nil {
		t.Fatal(err)
	}
	module := func(name, version string) sbom.Item {
		return sbom.Item{Name: name, Version: version, Purpose: sbom.Library, PURL: "pkg:golang/" + name + "@" + version, Licence: "BSD-3-Clause"}
	}
	for name, item := range map[string]sbom.Item{
		"talos": {Name: "talos.internal/talos:v1.15.0", Version: "v1.15.0", Purpose: sbom.Container, Parts: []sbom.Item{
			{Name: "machined", Version: "v1.15.0", Purpose: sbom.Application, Licence: "Apache-2.0", Parts: []sbom.Item{module("example.org/net", "v0.60.0")}},
			{Name: "runc", Version: "v1.5.2", Purpose: sbom.Application, Licence: "Apache-2.0", Parts: []sbom.Item{module("example.org/net", "v0.59.0")}},
		}},
		"extra": {Name: "example.org/extra:v2", Version: "v2", Purpose: sbom.Container, Parts: []sbom.Item{module("example.org/net", "v0.60.0")}},
	} {
		text, err := sbom.Marshal(item)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, billDir, name+".spdx.json"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	controllertest.Run(t, func(h *controllertest.Harness) {
		controllertest.Want(h, "runc", runtime.SBOMItem{Name: "runc", Version: "v1.5.2", License: "Apache-2.0"})
		for _, version := range []string{"v0.60.0", "v0.59.0"} {
			id := "example.org/net"
			if version == "v0.59.0" {
				id += "@" + version
			}
			controllertest.Want(h, id, runtime.SBOMItem{
				Name: "example.org/net", Version: version, License: "BSD-3-Clause", PURLs: []string{"pkg:golang/example.org/net@" + version},
			})
		}
		controllertest.WantGone[runtime.SBOMItem](h, "example.org/net@v0.60.0") // it is there once
	}, sbomItemController(root))
}
