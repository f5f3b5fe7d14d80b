// Package config has the machine configuration: the one declaration from which everything that a machine does follows.
//
// A config is a stream of YAML documents. Each has a kind, and some kinds a name; the root document (version: v1alpha1,
// with machine and cluster) has neither. [Load] reads a config strictly and reports every problem at once. [Examine]
// says all there is to say about one: errors, warnings, and notes on what is accepted and not yet acted on.
// [Config.Patch] changes a config by strategic merge or JSON patches and keeps its comments. [Config.Effective] is what
// the rest of the program works with: the deprecated fields of the root document are converted to the documents that
// succeed them, so that each thing is declared in one place.
//
// The document types are in the packages below this one: rootdoc, kubedoc, netdoc, blockdoc, sysdoc. Package generate makes new
// configs.
//
// Everything here is pure: no files, no network, no clock. A [Config] is immutable and safe for concurrent use.
package config
