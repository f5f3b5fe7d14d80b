// Package layer2 is an Ethernet switch for virtual machines, in a process of its own and without root.
//
// A machine is joined by QEMU's "-netdev stream" with a unix socket: QEMU listens, the switch connects, and connects again when
// either was started anew; the machine sees the cable pulled meanwhile. On the socket a frame is its length, four bytes in big
// endian, and its bytes ([ReadFrame]). A [Port] of the switch has the name of its machine.
//
// The switch learns which address is behind which port, and floods what it does not know, as IEEE 802.1D says (section 7.8 of
// the edition of 2004); it has no spanning tree, since nothing makes a loop. A port that cannot take frames fast enough loses
// some, as with a real one. [Rule] makes the network worse on purpose: frames from one port to another are lost, delayed, or
// cut off. A capture writes what machines send into a file for tcpdump(8) and Wireshark.
//
// [Run] is the process: it works on the folder that it is given, in which the socket [Socket] takes the orders of a [Client]. It ends
// when the folder is gone. The package may be imported by internal/provision/qemu and internal/cli.
package layer2
