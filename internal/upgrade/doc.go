// Package upgrade changes the version of a machine that runs: it brings another one into the slot that does not run, and keeps or leaves
// it when it has been tried. How that is written is planned by package install; docs/arch/upgrade.md tells the whole of it.
//
// An [Engine] carries the plans out on the system's disk, one at a time, and keeps a [Record] in META: what was asked for, and what came of
// it. Whether a system on trial is healthy is not decided here: that is internal/ctrl/upgradectrl. Where the installer's files come from and what
// would forbid an upgrade are functions that the engine is given.
//
// The package imports internal/install and internal/metastore, and resource. Controllers and internal/node may import it.
package upgrade
