// Package imagecache makes image caches: it collects container images and writes them in one of the two forms that package
// registryd reads and serves.
//
// [Create] takes images from [Source]s: caches that are there already ([Folder]), registries that stand in for others ([Mirror]), and
// the registries that the names of images say ([Registries]). Sources are asked in their order. Everything that has a digest is
// compared with it before it is kept. What is cut or altered is refused, with the reason in the log, and the next source is
// asked; only when none has it whole does the work end with an error.
//
// An index is kept as it is, byte for byte, so that its digest, and a signature of it, stay good; of what it names only the wanted
// platforms are taken. The same content gives the same cache.
//
// The package builds no images; package image does. It may be imported by internal/cli.
package imagecache
