// Package compose builds the programs of other people that go into the image, from source.
//
// A component is a program or a family of programs with one version. What there is of it:
//
//   - a line in components/versions: version, licence, module, what it is for ([Component]);
//   - a nested module components/NAME, whose go.mod and go.sum pin everything it is made of;
//   - a recipe in this package: packages, build tags, stamps, what its programs must say ([Recipe]);
//   - a result _out/components/NAME, made by [Builder.Build].
//
// A result holds the programs, and beside them: LICENSE and NOTICE of the component's module,
// NOTICES.txt with the licence texts of all that is linked, modules.txt (what is linked, each with
// its licence), files.txt (the programs with size and SHA-256), and inputs.txt: everything that
// decides what the result is. A component whose inputs.txt would come out the same is not built again.
//
// Modules are fetched first and compiled with GOPROXY=off: a build never depends on the network
// once its modules are there, and what is compiled is what go.sum says.
//
// The package runs the go command and nothing else of its own accord, but for the programs that it
// has built, to ask them for their version. It does not install anything.
package compose
