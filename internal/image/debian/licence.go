package debian

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
)

// Licence is what a copyright file says of all files of a source package.
type Licence struct {
	// Expression is in the form of SPDX 2.3, annex D; "" if the file is in another form than copyright-format 1.0.
	Expression string
	// Texts are those of the expression's licences that are not on SPDX's list, sorted by identifier.
	Texts []LicenceText
}

// LicenceText is a licence that is not on SPDX's list.
type LicenceText struct {
	ID   string // LicenseRef-…, as in the expression
	Name string // as the copyright file has it
	Text string // if it is not in the file, where to look
}

// ParseLicence reads the copyright file of a source package.
func ParseLicence(source string, copyright []byte) Licence {
	all, err := ParseControl(bytes.NewReader(copyright))
	if err != nil || len(all) == 0 || !strings.Contains(all[0]["Format"], "copyright-format") {
		return Licence{}
	}
	texts := map[string]string{} // by name, of the paragraphs that are only a licence, and of the others
	for _, s := range all {
		if name, text, ok := strings.Cut(s["License"], "\n"); ok && texts[name] == "" {
			texts[name] = text
		}
	}
	var parts []string
	refs := map[string]LicenceText{}
	for _, s := range all {
		if s["Files"] == "" {
			continue // the header, or the text of a licence
		}
		short, _, _ := strings.Cut(s["License"], "\n")
		if short = strings.TrimSpace(short); short == "" {
			return Licence{}
		}
		parts = append(parts, expression(short, func(name string) string {
			ref := LicenceText{"LicenseRef-Debian-" + notInID.ReplaceAllString(source+"-"+name, "-"), name, texts[name]}
			if ref.Text == "" {
				ref.Text = "See the package's copyright file."
			}
			refs[ref.ID] = ref
			return ref.ID
		}))
	}
	if len(parts) == 0 {
		return Licence{}
	}
	slices.Sort(parts)
	l := Licence{Expression: strings.Join(slices.Compact(parts), " AND ")}
	for _, ref := range refs {
		l.Texts = append(l.Texts, ref)
	}
	slices.SortFunc(l.Texts, func(a, b LicenceText) int { return strings.Compare(a.ID, b.ID) })
	return l
}

var (
	operator = regexp.MustCompile(`\s+(and/or|or|and)\s+`)
	notInID  = regexp.MustCompile(`[^A-Za-z0-9.-]+`)
)

// expression turns "GPL-2+ or BSD-3-clause" into "(GPL-2.0-or-later OR BSD-3-Clause)". Names that are not on SPDX's list
// become what other says; so does the whole, when its grouping cannot be told: when it has a comma, or both and and or.
func expression(short string, other func(name string) string) string {
	names, joint := []string{short}, ""
	if words := operator.FindAllStringSubmatch(short, -1); len(words) > 0 && !strings.Contains(short, ",") {
		kinds := map[string]bool{}
		for _, w := range words {
			joint = map[string]string{"or": " OR ", "and/or": " OR ", "and": " AND "}[w[1]]
			kinds[joint] = true
		}
		if len(kinds) == 1 {
			names = operator.Split(short, -1)
		}
	}
	for i, name := range names {
		id := spdxIDs[strings.ToLower(name)]
		if id == "" {
			id = other(name)
		}
		names[i] = id
	}
	if len(names) > 1 && joint == " OR " {
		return "(" + strings.Join(names, joint) + ")"
	}
	return strings.Join(names, joint)
}

// spdxIDs are the identifiers of the SPDX licence list for the short names of Debian's, in lower case. Names that mean
// different texts in different packages, such as "BSD" or "permissive", are not here.
var spdxIDs = map[string]string{
	"apache-2":     "Apache-2.0",
	"apache-2.0":   "Apache-2.0",
	"artistic-2.0": "Artistic-2.0",
	"bsd-2-clause": "BSD-2-Clause",
	"bsd-3-clause": "BSD-3-Clause",
	"bsd-4-clause": "BSD-4-Clause",
	"cc-by-sa-4.0": "CC-BY-SA-4.0",
	"cc0-1.0":      "CC0-1.0",
	"expat":        "MIT",
	"fsful":        "FSFUL",
	"gpl-1":        "GPL-1.0-only",
	"gpl-1+":       "GPL-1.0-or-later",
	"gpl-2":        "GPL-2.0-only",
	"gpl-2.0":      "GPL-2.0-only",
	"gpl-2+":       "GPL-2.0-or-later",
	"gpl-2.0+":     "GPL-2.0-or-later",
	"gpl-3":        "GPL-3.0-only",
	"gpl-3+":       "GPL-3.0-or-later",
	"isc":          "ISC",
	"lgpl-2":       "LGPL-2.0-only",
	"lgpl-2+":      "LGPL-2.0-or-later",
	"lgpl-2.0+":    "LGPL-2.0-or-later",
	"lgpl-2.1":     "LGPL-2.1-only",
	"lgpl-2.1+":    "LGPL-2.1-or-later",
	"lgpl-3":       "LGPL-3.0-only",
	"lgpl-3+":      "LGPL-3.0-or-later",
	"mit":          "MIT",
	"mpl-1.1":      "MPL-1.1",
	"mpl-2.0":      "MPL-2.0",
	"x11":          "X11",
	"zlib":         "Zlib",
}
