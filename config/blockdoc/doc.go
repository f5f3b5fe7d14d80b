// Package blockdoc declares the documents that describe storage: the volumes of the system, those of the user, swap,
// their encryption and upkeep, LVM and software RAID.
//
// A volume is a place for data with an identity that survives reboots. A partition is found again by its label, which
// is a prefix for the kind and the document's name: "u-data" for UserVolumeConfig data. A selector is a CEL expression
// over the facts of a disk or of what was found on one.
//
// The package says what a document may hold; what becomes of it on a machine is not its subject. It is pure, and
// imported by the facade of the configuration and by consumers of its documents.
package blockdoc

import "talos.internal/config/schema"

// Kinds returns the kinds of documents of this package.
func Kinds() []schema.Kind {
	const block, storage = "block", "storage"
	return []schema.Kind{
		{Name: "VolumeConfig", Subject: block, New: func() schema.Document { return new(VolumeConfig) }},
		{Name: "UserVolumeConfig", Subject: block, New: func() schema.Document { return new(UserVolumeConfig) }},
		{Name: "RawVolumeConfig", Subject: block, New: func() schema.Document { return new(RawVolumeConfig) }},
		{Name: "ExistingVolumeConfig", Subject: block, New: func() schema.Document { return new(ExistingVolumeConfig) }},
		{Name: "ExternalVolumeConfig", Subject: block, New: func() schema.Document { return new(ExternalVolumeConfig) }},
		{Name: "SwapVolumeConfig", Subject: block, New: func() schema.Document { return new(SwapVolumeConfig) }},
		{Name: "ZswapConfig", Subject: block, New: func() schema.Document { return new(ZswapConfig) }},
		{Name: "FilesystemTrimConfig", Subject: block, New: func() schema.Document { return new(FilesystemTrimConfig) }},
		{Name: "FilesystemScrubConfig", Subject: block, New: func() schema.Document { return new(FilesystemScrubConfig) }},
		{Name: "LVMVolumeGroupConfig", Subject: storage, New: func() schema.Document { return new(LVMVolumeGroupConfig) }},
		{Name: "LVMLogicalVolumeConfig", Subject: storage, New: func() schema.Document { return new(LVMLogicalVolumeConfig) }},
		{Name: "RAIDArrayConfig", Subject: storage, New: func() schema.Document { return new(RAIDArrayConfig) }},
	}
}

// orDefault returns what p points at, or fallback if it is nil.
func orDefault[T any](p *T, fallback T) T {
	if p == nil {
		return fallback
	}
	return *p
}
