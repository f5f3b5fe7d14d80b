package boot

import "strings"

// need says when the driver of a device is wanted.
type need uint8

const (
	// needFirst are the disks of virtual machines and of most servers of today: with them most roots are found.
	needFirst need = iota
	// needSoon is everything else that a disk or the network may be behind: who waits until disks are known waits for it.
	needSoon
	// needLater is what no start waits for: watchdogs, sensors, the instructions of processors.
	needLater
	needs = iota
)

// needOf decides by the alias of a device. What it does not know may lead to a disk.
func needOf(alias string) need {
	bus, rest, _ := strings.Cut(alias, ":")
	switch bus {
	case "virtio":
		return needFirst
	case "cpu", "platform", "dmi", "wmi", "hid", "input", "serio", "i2c", "hdaudio", "snd", "rtc":
		return needLater
	case "pci":
		// "v…d…sv…sd…bcBBscSSiII" (file2alias.c of the kernel): class, subclass and interface in hexadecimal digits
		at := strings.LastIndex(rest, "bc")
		if at < 0 || len(rest) < at+6 {
			return needSoon
		}
		switch class := rest[at+2:at+4] + rest[at+6:]; {
		case strings.HasPrefix(class, "0108"): // NVMe
			return needFirst
		case class[:2] == "01", class[:2] == "02", // storage, network
			strings.HasPrefix(class, "0805"),                                   // SD cards
			strings.HasPrefix(class, "0C00"), strings.HasPrefix(class, "0C03"), // FireWire, USB
			strings.HasPrefix(class, "0C04"), strings.HasPrefix(class, "0C06"), // Fibre Channel, InfiniBand
			class[:2] == "FF": // of no class
			return needSoon
		}
		return needLater
	}
	return needSoon
}

// byNeed parts the aliases of devices.
func byNeed(aliases []string) [needs][]string {
	var out [needs][]string
	for _, a := range aliases {
		n := needOf(a)
		out[n] = append(out[n], a)
	}
	return out
}
