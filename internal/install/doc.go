// Package install puts the system on a disk, and takes it off.
//
// [PlanInstall] decides: from facts about the disk and the sizes of the [Assets] it makes a [Plan], a list of comparable steps with a line
// for each that a person can read. It refuses a disk that is read-only, too small, or has data, unless the request says to wipe it. A plan
// is the same for the same request, GUIDs included, which come from the request's seed.
//
// [Execute] carries a plan out. Whatever is written, here and elsewhere on a disk of the system, goes through a [Recorder], which can tell
// each write and each flush in their order. A disk image is made by the same code as an installation: on a sparse file.
//
// The order of the steps is such that power may be cut at any time: first the old partition table goes and the disk is empty, then
// everything is written, and when that is on the medium, the new table. The disk is either empty or complete.
//
//	EFI        512 MiB  vfat: systemd-boot, a UKI for each slot, loader.conf
//	ROOT-A     1 GiB    root file system of slot A with its hash tree; the GUID is the first half of the root hash
//	ROOT-B     1 GiB    empty until the first upgrade
//	META       1 MiB    package metastore
//	IMAGECACHE          a file system with the image cache, if there is one
//	STATE      100 MiB  empty; XFS after the first boot
//
// EPHEMERAL and all other partitions are made on the first boot, since the config may say where they are and how large.
//
// The package imports internal/{gpt,fat32,metastore,superblock} and internal/sys/blockdev. internal/image, controllers and commands may import it.
package install
