// Package platform finds what the platform of a machine gives it: its machine config, and a seed for its network.
//
// The kernel's command line says where the config is: talos.config= names a URL, in which ${uuid}, ${serial}, ${mac} and
// ${hostname} stand for those of the machine, a medium with the label metal-iso, or none; talos.config.early= and
// talos.config.inline= have it themselves. Without talos.config= a nocloud seed is looked for: a disk with the label cidata,
// or a server that the serial number of the firmware names (contract.md, section 2.8; the formats are cloud-init's).
//
// [Platform.Sources] are the places in their order, for the controller that acquires the config; [Platform.Seed] is what else a
// seed has. Whatever may come later, a server or a stick, is asked again until it answers. What is read is not understood
// here. The composition of the node imports this package.
package platform
