package image

import (
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"talos.internal/internal/image/oci"
)

// mebibytes writes a number of bytes for people.
func mebibytes(n int64) string {
	if n > 0 && n < 1<<20/20 {
		return "<0.1 MiB"
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}

// measured is the size of a layer.
type measured struct {
	content          string
	packed, unpacked int64
	images           int
}

// tableText is the document with its three tables.
const tableText = `# What images weigh

Written by ` + "`go run ./cmd/imager table >docs/images-build.md`" + ` from the image cache in _out/images; what it
means is in [arch/images.md](arch/images.md). MiB are 2^20 bytes; unpacked is the size as a tar archive. A layer that several images
have is in the cache once, so the images add up to more than the last line of the second table.

## Images

%s
## Layers

%s
## C programs

%d of them are in images, each with its reason:

%s`

// WriteTable writes sizes of images, of the layers they share, and the list of tools, as Markdown. It unpacks all layers.
func WriteTable(w io.Writer, images []oci.Image) error {
	layers := map[v1.Hash]*measured{}
	var rows [][]string
	for _, img := range images {
		row, err := measure(img, layers)
		if err != nil {
			return fmt.Errorf("measure %s: %w", img.Ref, err)
		}
		rows = append(rows, row)
	}
	var total measured
	var parts [][]string
	sorted := make([]*measured, 0, len(layers))
	for _, l := range layers {
		sorted = append(sorted, l)
		total.packed += l.packed
		total.unpacked += l.unpacked
	}
	slices.SortFunc(sorted, func(a, b *measured) int { return strings.Compare(a.content, b.content) })
	var single measured
	for _, l := range sorted {
		if l.images == 1 && strings.HasSuffix(l.content, "bill of materials") {
			single.packed, single.unpacked, single.images = single.packed+l.packed, single.unpacked+l.unpacked, single.images+1
			continue
		}
		parts = append(parts, []string{l.content, mebibytes(l.packed), mebibytes(l.unpacked), fmt.Sprint(l.images)})
	}
	parts = append(parts,
		[]string{fmt.Sprintf("%d layers of one image each: own files and bill of materials", single.images),
			mebibytes(single.packed), mebibytes(single.unpacked), "1"},
		[]string{"**all, each layer once**", mebibytes(total.packed), mebibytes(total.unpacked), ""})
	var tools [][]string
	for _, t := range Tools() {
		tools = append(tools, []string{"`" + t.Name + "`", t.Package, t.Why})
	}
	_, err := fmt.Fprintf(w, tableText,
		markdown([]string{"image", "compressed", "unpacked", "layers", "user"}, rows),
		markdown([]string{"layer", "compressed", "unpacked", "images"}, parts),
		len(tools), markdown([]string{"program", "Debian package", "why"}, tools))
	return err
}

// measure adds an image's layers to those known and returns the image's row.
func measure(img oci.Image, known map[v1.Hash]*measured) ([]string, error) {
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	if len(config.History) != len(layers) {
		return nil, fmt.Errorf("%d layers, and words on %d: not an image of ours", len(layers), len(config.History))
	}
	var sum measured
	for i, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return nil, err
		}
		m := known[digest]
		if m == nil {
			m = &measured{content: config.History[i].Comment}
			if m.packed, err = l.Size(); err != nil {
				return nil, err
			}
			if m.unpacked, err = oci.UnpackedSize(l); err != nil {
				return nil, err
			}
			known[digest] = m
		}
		m.images++
		sum.packed += m.packed
		sum.unpacked += m.unpacked
	}
	user := config.Config.User
	if user == "" {
		user = "root"
	}
	return []string{"`" + img.Ref + "`", mebibytes(sum.packed), mebibytes(sum.unpacked), fmt.Sprint(len(layers)), user}, nil
}

// markdown makes a table whose columns are aligned in the text too.
func markdown(head []string, rows [][]string) string {
	width := make([]int, len(head))
	for _, row := range append([][]string{head}, rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	var b strings.Builder
	line := func(row []string) {
		for i, cell := range row {
			fmt.Fprintf(&b, "| %s%s ", cell, strings.Repeat(" ", width[i]-len([]rune(cell))))
		}
		b.WriteString("|\n")
	}
	line(head)
	for i := range head {
		b.WriteString("|" + strings.Repeat("-", width[i]+2))
	}
	b.WriteString("|\n")
	for _, row := range rows {
		line(row)
	}
	return b.String()
}

// Sized is a file for [WriteSizes].
type Sized struct {
	Name, What string
	Bytes      int64
}

// sizesText is the document with the table.
const sizesText = `# What a machine boots from weighs

Written by ` + "`go run ./cmd/imager sizes >docs/machine-sizes.md`" + ` from _out/machine; what it means is in
[arch/machine-images.md](arch/machine-images.md). MB are 10^6 bytes. The target for the ISO image without image cache is 89 MB.

%s`

// WriteSizes writes a table of files as Markdown.
func WriteSizes(w io.Writer, files []Sized) error {
	var rows [][]string
	for _, f := range files {
		rows = append(rows, []string{"`" + f.Name + "`", f.What, fmt.Sprintf("%.1f MB", float64(f.Bytes)/1e6)})
	}
	_, err := fmt.Fprintf(w, sizesText, markdown([]string{"file", "what", "size"}, rows))
	return err
}
