// Package provisiontest is the specification of a provision.Provisioner, as tests: [Suite.Run] is called by the tests of each.
//
// [Machine] says what there is on a Linux computer that a cluster could leave behind: processes, mounts, links, tables of
// nftables, cgroups. Comparing two of its answers shows what was left. [Layout] makes a node image that is small and does what the
// suite wants, and [Ask] asks its nodes what they see.
//
// The package is for tests.
package provisiontest
