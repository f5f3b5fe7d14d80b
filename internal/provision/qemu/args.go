package qemu

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// machine is a virtual machine as QEMU's command line says it.
type machine struct {
	name   string
	uuid   string
	kvm    bool
	cpus   float64 // 0 is 1
	memory int64   // bytes; 0 is DefaultMemory
	mac    string

	dir     string // of the node
	run     string // prefix of its sockets and pid files
	console string // log of the serial port

	disk, seed string
	drive      string // image in the CD-ROM drive; "" for no drive
	code, vars string // UEFI; "" for none
	secure     bool   // the firmware keeps its variables to itself
	kernel     string // direct boot; "" for none
	initramfs  string
	cmdline    string
	tpm        string // socket of swtpm; "" for none
	clock      string // what the clock shows at the start, in the form of clockForm; "" for the right time
	incoming   string // shell command whose output is the memory to go on with; "" to boot
}

// args returns QEMU's arguments.
func (m machine) args() []string {
	kind := "q35"
	if m.secure {
		kind += ",smm=on"
	}
	// Translated, "rep stosb" is done byte by byte. A kernel that is told it were fast (ERMS) empties pages with it, which took a third of
	// all time of a start.
	accel, cpu := "tcg,thread=multi", "max,-erms"
	if m.kvm {
		accel, cpu = "kvm", "max"
	}
	memory := m.memory
	if memory == 0 {
		memory = DefaultMemory
	}
	a := []string{
		"-name", "guest=" + value(m.name), "-uuid", m.uuid, "-nodefaults", "-no-user-config", "-display", "none",
		"-machine", kind, "-accel", accel, "-cpu", cpu,
		"-smp", strconv.Itoa(max(1, int(math.Ceil(m.cpus)))), "-m", strconv.FormatInt((memory+1<<20-1)>>20, 10),
		"-daemonize", "-pidfile", m.run + pidSuffix,
		"-qmp", "unix:" + value(m.run+monitorSuffix) + ",server=on,wait=off",
		"-chardev", "file,id=console,path=" + value(m.console) + ",append=on", "-serial", "chardev:console",
		"-device", "virtio-rng-pci", "-device", "i6300esb",
		"-netdev", "stream,id=net,server=on,addr.type=unix,addr.path=" + value(m.run+linkSuffix),
		"-device", "virtio-net-pci,netdev=net,mac=" + m.mac + ",romfile=",
	}
	if m.secure {
		a = append(a, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	if m.code != "" {
		a = append(a, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+value(m.code), "-drive", "if=pflash,unit=1,format=raw,file="+value(m.vars))
	}
	a = append(a,
		"-drive", "if=none,id=system,format=qcow2,discard=unmap,file="+value(m.disk),
		"-device", "virtio-blk-pci,drive=system,serial=system,bootindex=1",
		"-drive", "if=none,id=seed,format=raw,readonly=on,file="+value(m.seed),
		"-device", "virtio-blk-pci,drive=seed,serial=cidata")
	if m.drive != "" {
		a = append(a, "-drive", "if=none,id=drive,format=raw,readonly=on,file="+value(m.drive), "-device", "ide-cd,drive=drive,bootindex=2")
	}
	if m.kernel != "" {
		a = append(a, "-kernel", m.kernel, "-append", m.cmdline)
		if m.initramfs != "" {
			a = append(a, "-initrd", m.initramfs)
		}
	}
	if m.tpm != "" {
		a = append(a, "-chardev", "socket,id=tpm,path="+value(m.tpm), "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0")
	}
	if m.clock != "" {
		a = append(a, "-rtc", "base="+m.clock)
	}
	if m.incoming != "" {
		a = append(a, "-incoming", "exec:"+m.incoming)
	}
	return a
}

// clockForm is how QEMU takes the time of a clock, in UTC.
const clockForm = "2006-01-02T15:04:05"

// The ends of the names of a node's files in run.
const (
	pidSuffix     = ".pid"
	monitorSuffix = ".qmp"
	linkSuffix    = ".l2"
	tpmSuffix     = ".tpm"
	tpmPIDSuffix  = ".tpm.pid"
)

// mostSocket is the longest path of a socket in bytes (unix(7)), with its end.
const mostSocket = 107

// gatewayArgs are the arguments of a QEMU without a machine, in which its user-mode network has the first address and is joined
// to the switch. restrict=on keeps the cluster from this computer and what is beyond. It has a second address, for names, which
// cannot be left out and would be the third of the network; and it leases addresses from first on, to machines that ask.
func gatewayArgs(run string, network netip.Prefix, gateway, first netip.Addr) []string {
	return []string{
		"-name", "guest=gateway", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "none",
		"-daemonize", "-pidfile", run + pidSuffix, "-qmp", "unix:" + value(run+monitorSuffix) + ",server=on,wait=off",
		"-netdev", fmt.Sprintf("user,id=user,ipv6=off,restrict=on,net=%s,host=%s,dns=%s,dhcpstart=%s", network, gateway, reserved(network), first),
		"-netdev", "hubport,id=hub0,hubid=0,netdev=user",
		"-netdev", "stream,id=net,server=on,addr.type=unix,addr.path=" + value(run+linkSuffix),
		"-netdev", "hubport,id=hub1,hubid=0,netdev=net",
	}
}

// reserved is the last address of a network but for that of broadcast. The gateway has it, too, and no node.
func reserved(network netip.Prefix) netip.Addr {
	a := network.Masked().Addr().As4()
	n := binary.BigEndian.Uint32(a[:]) | uint32(1<<(32-network.Bits())-1)
	binary.BigEndian.PutUint32(a[:], n-1)
	return netip.AddrFrom4(a)
}

// value is a text as the value of an option, in which a comma ends one.
func value(text string) string { return strings.ReplaceAll(text, ",", ",,") }

// quoted is a text as one word for a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// The flags by which processes of a cluster are told from all others.
const (
	pidFlag    = "-pidfile" // QEMU
	tpmPIDFlag = "--pid"    // swtpm
)

// belongs reports whether a command line is that of a process of the cluster with a folder for sockets: a QEMU, a swtpm, or the
// switch.
func belongs(args []string, run string, launcher []string) bool {
	inside := run + string(filepath.Separator)
	return after(args, pidFlag, func(v string) bool { return strings.HasPrefix(v, inside) }) ||
		after(args, tpmPIDFlag, func(v string) bool { return strings.HasPrefix(v, "file="+inside) }) ||
		isSwitch(args, run, launcher)
}

// isSwitch reports whether a command line is that of the switch of a folder: the launcher's arguments, whatever the program is
// called by now, and the folder.
func isSwitch(args []string, run string, launcher []string) bool {
	n := len(launcher)
	return n > 1 && len(args) == n+1 && args[n] == run && slices.Equal(args[1:n], launcher[1:])
}

// runs reports whether a command line is that of the QEMU with a pid file.
func runs(args []string, pidFile string) bool {
	return after(args, pidFlag, func(v string) bool { return v == pidFile })
}

// hasTPM reports whether a command line is that of the TPM of a machine.
func hasTPM(args []string, run string) bool {
	return after(args, tpmPIDFlag, func(v string) bool { return v == "file="+run+tpmPIDSuffix })
}

// after reports whether some word that follows a flag is as wanted.
func after(args []string, flag string, want func(string) bool) bool {
	for i := 1; i < len(args); i++ {
		if args[i-1] == flag && want(args[i]) {
			return true
		}
	}
	return false
}
