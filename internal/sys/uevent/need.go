package uevent

import "strings"

// Need says when the driver of a device is wanted.
type Need uint8

const (
	// First are the disks of virtual machines and of most servers of today: with them most roots are found.
	First Need = iota
	// Soon is everything else that a disk or the network may be behind: who waits until disks are known waits for it.
	Soon
	// Later is what no start waits for: watchdogs, sensors, the instructions of processors.
	Later
	// Needs is how many there are.
	Needs = iota
)

// NeedOf decides by the alias of a device. What it does not know may lead to a disk.
func NeedOf(alias string) Need {
	bus, rest, _ := strings.Cut(alias, ":")
	switch bus {
	case "virtio":
		return First
	case "cpu", "platform", "dmi", "wmi", "hid", "input", "serio", "i2c", "hdaudio", "snd", "rtc":
		return Later
	case "pci":
		// "v…d…sv…sd…bcBBscSSiII" (file2alias.c of the kernel): class, subclass and interface in hexadecimal digits
		at := strings.LastIndex(rest, "bc")
		if at < 0 || len(rest) < at+6 {
			return Soon
		}
		switch class := rest[at+2:at+4] + rest[at+6:]; {
		case strings.HasPrefix(class, "0108"): // NVMe
			return First
		case class[:2] == "01", class[:2] == "02", // storage, network
			strings.HasPrefix(class, "0805"),                                   // SD cards
			strings.HasPrefix(class, "0C00"), strings.HasPrefix(class, "0C03"), // FireWire, USB
			strings.HasPrefix(class, "0C04"), strings.HasPrefix(class, "0C06"), // Fibre Channel, InfiniBand
			class[:2] == "FF": // of no class
			return Soon
		}
		return Later
	}
	return Soon
}

// ByNeed parts the aliases of devices.
func ByNeed(aliases []string) [Needs][]string {
	var out [Needs][]string
	for _, a := range aliases {
		n := NeedOf(a)
		out[n] = append(out[n], a)
	}
	return out
}
