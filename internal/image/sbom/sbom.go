// Package sbom writes bills of materials: what software an image is made of, with versions and licences.
//
// A bill is an SPDX 2.3 document in JSON. It describes one thing, the image, which contains items (a program, a Debian package),
// which may contain items again (the Go modules that a program is linked from). The same items give the same bytes,
// whatever their order: the time of creation is the epoch of the root file systems, and the document's namespace is made
// from its content.
//
// The package is for internal/image.
package sbom

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"

	"talos.internal/internal/image/rootfs"
)

// Purpose is what an item is, as SPDX names it (clause 7.24).
type Purpose string

// The purposes that occur.
const (
	Container       Purpose = "CONTAINER"
	OperatingSystem Purpose = "OPERATING-SYSTEM"
	Application     Purpose = "APPLICATION"
	Library         Purpose = "LIBRARY"
)

// Item is a piece of software.
type Item struct {
	Name, Version string
	Purpose       Purpose
	PURL          string // package URL; items with one that is the same are the same item; "" if there is none
	SHA256        string // of the file that it is, in hex; "" if it is none
	Licence       string // SPDX expression; "" if it is not known
	Texts         []Text // of those licences in Licence that are not on SPDX's list
	From          string // who supplies it, an organisation; "" if that is not known
	Parts         []Item
}

// Text is a licence that is not on SPDX's list.
type Text struct{ ID, Name, Text string }

// Debian gives the PURL of a binary package.
func Debian(name, version, arch string) string {
	return "pkg:deb/debian/" + name + "@" + url.QueryEscape(version) + "?arch=" + arch
}

// Module gives the PURL of a Go module.
func Module(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + url.PathEscape(version)
}

// Marshal returns the bill of item.
func Marshal(item Item) ([]byte, error) {
	doc := &v2_3.Document{
		SPDXVersion: v2_3.Version, DataLicense: v2_3.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: item.Name,
		CreationInfo: &v2_3.CreationInfo{
			Creators: []common.Creator{{Creator: "imager", CreatorType: "Tool"}},
			Created:  rootfs.Epoch.Format(time.RFC3339),
		},
	}
	b := builder{doc: doc, ids: map[string]common.ElementID{}, taken: map[common.ElementID]bool{}, texts: map[string]bool{}}
	root := b.add(item)
	b.relate("DOCUMENT", "DESCRIBES", root)
	b.sort()
	first, err := encode(doc)
	if err != nil {
		return nil, fmt.Errorf("bill of %s: %w", item.Name, err)
	}
	sum := sha256.Sum256(first)
	doc.DocumentNamespace = "https://talos.internal/spdx/" + url.PathEscape(item.Name) + "/" + hex.EncodeToString(sum[:])
	return encode(doc)
}

func encode(doc *v2_3.Document) ([]byte, error) {
	var out bytes.Buffer
	err := json.Write(doc, &out, json.Indent(" "), json.EscapeHTML(false))
	return out.Bytes(), err
}

type builder struct {
	doc   *v2_3.Document
	ids   map[string]common.ElementID // by what identifies an item
	taken map[common.ElementID]bool
	texts map[string]bool
}

var notInID = regexp.MustCompile(`[^A-Za-z0-9.-]+`)

// add puts an item and its parts into the document, once, and returns the item's identifier.
func (b *builder) add(item Item) common.ElementID {
	key := cmp.Or(item.PURL, string(item.Purpose)+" "+item.Name+" "+item.Version+" "+item.SHA256)
	id, known := b.ids[key]
	if !known {
		id = common.ElementID("Package-" + notInID.ReplaceAllString(cmp.Or(item.PURL, item.Name+"-"+item.Version), "-"))
		if b.taken[id] { // two that differ only in what an identifier cannot have
			sum := sha256.Sum256([]byte(key))
			id += common.ElementID("-" + hex.EncodeToString(sum[:4]))
		}
		b.ids[key], b.taken[id] = id, true
		b.doc.Packages = append(b.doc.Packages, describe(id, item))
	}
	for _, t := range item.Texts {
		if !b.texts[t.ID] {
			b.texts[t.ID] = true
			b.doc.OtherLicenses = append(b.doc.OtherLicenses,
				&v2_3.OtherLicense{LicenseIdentifier: t.ID, LicenseName: t.Name, ExtractedText: t.Text})
		}
	}
	for _, part := range item.Parts {
		b.relate(id, "CONTAINS", b.add(part))
	}
	return id
}

func describe(id common.ElementID, item Item) *v2_3.Package {
	const unknown = "NOASSERTION"
	p := &v2_3.Package{
		PackageName: item.Name, PackageSPDXIdentifier: id, PackageVersion: item.Version,
		PackageDownloadLocation: unknown, PackageLicenseConcluded: unknown, PackageCopyrightText: unknown,
		PackageLicenseDeclared: cmp.Or(item.Licence, unknown), PrimaryPackagePurpose: string(item.Purpose),
	}
	if item.From != "" {
		p.PackageSupplier = &common.Supplier{SupplierType: "Organization", Supplier: item.From}
	}
	if item.SHA256 != "" {
		p.PackageChecksums = []common.Checksum{{Algorithm: common.SHA256, Value: item.SHA256}}
	}
	if item.PURL != "" {
		p.PackageExternalReferences = []*v2_3.PackageExternalReference{
			{Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: item.PURL},
		}
	}
	return p
}

func (b *builder) relate(from common.ElementID, how string, to common.ElementID) {
	b.doc.Relationships = append(b.doc.Relationships, &v2_3.Relationship{
		RefA: common.DocElementID{ElementRefID: from}, RefB: common.DocElementID{ElementRefID: to}, Relationship: how,
	})
}

// sort makes the document independent of the order in which items came.
func (b *builder) sort() {
	slices.SortFunc(b.doc.Packages, func(x, y *v2_3.Package) int {
		return cmp.Compare(x.PackageSPDXIdentifier, y.PackageSPDXIdentifier)
	})
	slices.SortFunc(b.doc.OtherLicenses, func(x, y *v2_3.OtherLicense) int {
		return cmp.Compare(x.LicenseIdentifier, y.LicenseIdentifier)
	})
	key := func(r *v2_3.Relationship) string {
		return string(r.RefA.ElementRefID) + " " + r.Relationship + " " + string(r.RefB.ElementRefID)
	}
	slices.SortFunc(b.doc.Relationships, func(x, y *v2_3.Relationship) int { return cmp.Compare(key(x), key(y)) })
	b.doc.Relationships = slices.CompactFunc(b.doc.Relationships, func(x, y *v2_3.Relationship) bool { return key(x) == key(y) })
}
