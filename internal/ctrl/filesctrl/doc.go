// Package filesctrl has the controllers of the files in /etc that the node writes.
//
// /etc is part of the read-only root. A file there that changes is a [files.EtcFileSpec], whoever wants it; its contents are
// written below a directory in memory, and shown over the file in /etc by a bind mount. The status of a file says which
// version of the wish is there, so that who needs the file can wait for it.
//
// Contents are made by others: the packages whose subject the file is. Whoever composes a node imports this package, and
// nobody else.
package filesctrl

import "talos.internal/controller"

// Deps are what the controllers need of the world outside the state.
type Deps struct {
	// Root is the directory that the files are written to, by their path below /etc. It is there.
	Root string
	// Binder shows them in /etc.
	Binder Binder
}

// Binder shows files of the root in /etc.
//
// A Binder that can also undo that has a method Unbind(name string) error, which is called before a file that nobody wants
// any more is removed; without it the file is seen until the next boot.
type Binder interface {
	// Bind shows the file of this path in /etc, in place of what is there. It is called when the file is new. After that its
	// contents change and the file stays the same: a bind mount shows a file and not a name, and so do those of the
	// containers that have it.
	Bind(name string) error
}

// Controllers returns all controllers of the package.
func Controllers(d Deps) []controller.Controller {
	return []controller.Controller{etcFile(d), etcFileConfig{}}
}
