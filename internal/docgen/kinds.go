package main

import (
	"slices"

	"talos.internal/config/blockdoc"
	"talos.internal/config/kubedoc"
	"talos.internal/config/netdoc"
	"talos.internal/config/rootdoc"
	"talos.internal/config/schema"
	"talos.internal/config/sysdoc"
)

// packages are the directories of the packages that declare documents.
var packages = []string{"config/netdoc", "config/kubedoc", "config/blockdoc", "config/sysdoc", "config/rootdoc"}

// kinds returns the kinds of all documents, the root document's too.
func kinds() []schema.Kind {
	return slices.Concat(
		[]schema.Kind{rootdoc.Kind()}, netdoc.Kinds(), kubedoc.Kinds(), blockdoc.Kinds(), sysdoc.Kinds())
}
