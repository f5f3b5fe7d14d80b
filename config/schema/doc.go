// Package schema decodes, checks and encodes configuration documents from the Go types that declare them.
//
// A document kind is a Go struct. Its yaml tags name the fields, and a few more tags say what a value may be:
//
//	yaml:"name"          the key; ",inline" for an embedded struct
//	required:"true"      the key must be there; whether it may be empty is for its type or for Validate
//	enum:"a|b"           the values that a string, or each string of a list, may have
//	merge:"replace"      a patch replaces the list or map instead of adding to it
//	merge:"key=a,b"      a patch merges the list's items that agree on a, else on b (an item is a mapping)
//	secret:"true"        the value never appears in a message, a diff or a log
//	deprecated:"X"       the field is accepted; X is its successor
//	encode:"always"      the key is written even when the value is zero
//
// From those types the package derives one plan per type ([TypeOf]) that serves the strict decoder, the encoder,
// patches, the reference pages and the JSON Schema, so that none of them can disagree with another.
//
// The decoder does not stop at the first mistake: it collects a [Problem] for each, with line, path, what was
// expected and, for a near miss, the name that was probably meant. Input is bounded before it is parsed (see
// [Parse]), so that no input costs more than a fixed amount of memory and time.
//
// The package knows no document kind. It is pure: no files, no clock, no network. Only packages below config
// import it.
package schema
