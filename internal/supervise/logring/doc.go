// Package logring keeps the last lines of what services say, in bounded memory, for any number of readers.
//
// A [Ring] is the log of one service: a stream of whole lines of which the newest are kept. The newest chunk is plain bytes,
// at first room for 16 KiB and at most 64 KiB; when it is full it is compressed and becomes history; the oldest history is
// dropped when all of it together would be larger than the limit of the ring, 1 MiB unless told otherwise. These are the
// sizes of the published contract. A [Set] has the rings of all services and the compressor that they share.
//
// Lines are never torn: a [Writer] holds back an unfinished line until its end comes, or the writer is closed, so several
// writers of one ring take turns by lines. A line longer than 32 KiB is cut into several.
//
// A [Reader] starts at the last N lines and may follow. Writing never waits for a reader: one that is so slow that lines were
// dropped before it took them gets one line in their place that says how many ([Skipped]).
//
// The package holds bytes and no times; it knows nothing of files. What is to be kept on disk is copied by a reader that
// follows.
package logring
