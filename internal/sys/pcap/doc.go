// Package pcap records the packets of a network device.
//
// [Open] begins to record, with a packet socket (packet(7)) in the network namespace of the calling thread; [Source.Next] returns
// one packet after the other. A filter is a program of classic BPF (networking/filter.rst), which the kernel checks and runs.
// [Writer] writes packets as a capture file (draft-ietf-opsawg-pcap).
//
// The kernel drops what is not taken in time. The package does not decode packets. Recording is for Linux alone, with
// CAP_NET_RAW; Writer is there on every system. Anything may import it that may import internal/sys.
package pcap
