package runtimectrl

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"talos.internal/controller"
	"talos.internal/resource/runtime"
	"talos.internal/state"
)

const (
	// billDir has the bills of materials of the image, extensionBillDir those of its extensions; both are seen from the root.
	billDir          = "usr/share/spdx"
	extensionBillDir = "usr/local/share/spdx"
	// extensionList is what the image builder says about the extensions in the image.
	extensionList = "etc/extensions.yaml"
	// maxFile is how long one of these files may be.
	maxFile = 16 << 20
	// billDelay keeps the bills, of which nobody depends, out of the time in which the machine starts.
	billDelay = 5 * time.Second
)

// sbomItemController shows what the image is made of.
func sbomItemController(root string) controller.Controller { return &SBOMItemController{Root: root} }

// SBOMItemController shows the components that the bills of materials in the image name.
type SBOMItemController struct{ Root string }

// Name implements [controller.Controller].
func (*SBOMItemController) Name() string { return "runtime.SBOMItemController" }

// Inputs implements [controller.Controller].
func (*SBOMItemController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (*SBOMItemController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.SBOMItem]()}
}

// Run implements [controller.Controller]. A file that is no bill is logged and left out.
func (c *SBOMItemController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(billDelay):
	}
	taken := map[string]string{}
	for _, dir := range []string{billDir, extensionBillDir} {
		files, err := fs.Glob(os.DirFS(c.Root), path.Join(dir, "*.spdx.json"))
		if err != nil {
			return err
		}
		for _, name := range files {
			items, err := readBill(filepath.Join(c.Root, name), dir == extensionBillDir)
			if err != nil {
				log.Error("a bill of materials cannot be used", "error", err)
				continue
			}
			for _, item := range items {
				if err := state.Put(ctx, rt, itemID(item, taken), item); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// itemID returns the id of an item: its name, with its version where another version has the name. Two items with both the same
// are one: programs link the same modules. taken has the version of each name.
func itemID(item runtime.SBOMItem, taken map[string]string) string {
	first, ok := taken[item.Name]
	if !ok {
		taken[item.Name] = item.Version
		return item.Name
	}
	if first == item.Version {
		return item.Name
	}
	return item.Name + "@" + item.Version
}

func readBill(name string, extension bool) ([]runtime.SBOMItem, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	items, err := parseBill(io.LimitReader(f, maxFile), extension)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return items, nil
}

// parseBill returns the packages of an SPDX document in JSON (SPDX 2.3, clause 7).
func parseBill(r io.Reader, extension bool) ([]runtime.SBOMItem, error) {
	var doc struct {
		Packages []struct {
			Name     string `json:"name"`
			Version  string `json:"versionInfo"`
			License  string `json:"licenseDeclared"`
			Conclude string `json:"licenseConcluded"`
			Refs     []struct {
				Type    string `json:"referenceType"`
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
		} `json:"packages"`
	}
	if err := json.NewDecoder(r).Decode(&doc); err != nil {
		return nil, err
	}
	var items []runtime.SBOMItem
	for _, p := range doc.Packages {
		if p.Name == "" {
			continue
		}
		item := runtime.SBOMItem{Name: p.Name, Version: p.Version, License: cmp.Or(said(p.License), said(p.Conclude)), Extension: extension}
		for _, ref := range p.Refs {
			switch ref.Type {
			case "cpe22Type", "cpe23Type":
				item.CPEs = append(item.CPEs, ref.Locator)
			case "purl":
				item.PURLs = append(item.PURLs, ref.Locator)
			}
		}
		items = append(items, item)
	}
	return items, nil
}

// said returns a licence, empty if the document says that it does not say.
func said(license string) string {
	if license == "NOASSERTION" || license == "NONE" {
		return ""
	}
	return license
}

// ExtensionStatusController shows the system extensions in the image.
type ExtensionStatusController struct{ Root string }

func extensionStatusController(root string) controller.Controller {
	return ExtensionStatusController{Root: root}
}

// Name implements [controller.Controller].
func (ExtensionStatusController) Name() string { return "runtime.ExtensionStatusController" }

// Inputs implements [controller.Controller].
func (ExtensionStatusController) Inputs() []controller.Input { return nil }

// Outputs implements [controller.Controller].
func (ExtensionStatusController) Outputs() []controller.Output {
	return []controller.Output{controller.Exclusive[runtime.ExtensionStatus]()}
}

// Run implements [controller.Controller].
func (c ExtensionStatusController) Run(ctx context.Context, rt controller.Runtime, log *slog.Logger) error {
	f, err := os.Open(filepath.Join(c.Root, extensionList))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	extensions, err := parseExtensions(io.LimitReader(f, maxFile))
	if err != nil {
		log.Error("the list of extensions cannot be used", "file", extensionList, "error", err)
		return nil
	}
	for i, e := range extensions {
		if err := state.Put(ctx, rt, strconv.Itoa(i), e); err != nil {
			return err
		}
	}
	return nil
}

// parseExtensions parses the list: the key layers with an image and metadata for each extension.
func parseExtensions(r io.Reader) ([]runtime.ExtensionStatus, error) {
	var doc struct {
		Layers []runtime.ExtensionStatus `yaml:"layers"`
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(string(b)) == "" {
		return nil, nil
	}
	err = yaml.Unmarshal(b, &doc)
	return doc.Layers, err
}
