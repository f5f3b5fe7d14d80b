package mount

import (
	"strings"

	"golang.org/x/sys/unix"
)

// Flags are those of mount(2).
type Flags uintptr

// Flags of a mount, and of what a call of [Verbs.Mount] does instead of mounting something new.
const (
	ReadOnly    Flags = unix.MS_RDONLY
	NoSuid      Flags = unix.MS_NOSUID
	NoDev       Flags = unix.MS_NODEV
	NoExec      Flags = unix.MS_NOEXEC
	Sync        Flags = unix.MS_SYNCHRONOUS
	DirSync     Flags = unix.MS_DIRSYNC
	NoSymFollow Flags = unix.MS_NOSYMFOLLOW
	NoAtime     Flags = unix.MS_NOATIME
	NoDirAtime  Flags = unix.MS_NODIRATIME
	RelAtime    Flags = unix.MS_RELATIME
	StrictAtime Flags = unix.MS_STRICTATIME
	LazyTime    Flags = unix.MS_LAZYTIME

	Remount Flags = unix.MS_REMOUNT // change the flags of what is mounted at the target
	Bind    Flags = unix.MS_BIND    // show the source, a path, at the target; with Remount: change this mount alone
	Move    Flags = unix.MS_MOVE    // move the mount at the source to the target
	Rec     Flags = unix.MS_REC     // with Bind or a kind of propagation: all that is mounted below, too

	Shared     Flags = unix.MS_SHARED     // give mounts below to the peers, and take theirs
	Slave      Flags = unix.MS_SLAVE      // take those of the peers, give none
	Private    Flags = unix.MS_PRIVATE    // neither
	Unbindable Flags = unix.MS_UNBINDABLE // neither, and refuse to be the source of a bind mount
)

// propagation are the flags that change who else sees mounts below.
const propagation = Shared | Slave | Private | Unbindable

// perMount are the flags that belong to one mount and that a bind remount sets or clears. Those about access times are
// left alone by a remount that does not name one, and so are no part of it.
const perMount = ReadOnly | NoSuid | NoDev | NoExec | NoSymFollow

// names are the words of mount(8), in the order in which String gives them.
var names = []struct {
	flag Flags
	word string
}{
	{Remount, "remount"}, {Bind, "bind"}, {Move, "move"}, {Rec, "rec"},
	{Shared, "shared"}, {Slave, "slave"}, {Private, "private"}, {Unbindable, "unbindable"},
	{ReadOnly, "ro"}, {NoSuid, "nosuid"}, {NoDev, "nodev"}, {NoExec, "noexec"}, {NoSymFollow, "nosymfollow"},
	{Sync, "sync"}, {DirSync, "dirsync"}, {NoAtime, "noatime"}, {NoDirAtime, "nodiratime"},
	{RelAtime, "relatime"}, {StrictAtime, "strictatime"}, {LazyTime, "lazytime"},
}

// String returns the flags as words with commas, as mount(8) has them; none gives "".
func (f Flags) String() string {
	var words []string
	for _, n := range names {
		if f&n.flag != 0 {
			words = append(words, n.word)
		}
	}
	return strings.Join(words, ",")
}

// ParseOptions splits options as fstab(5) has them into flags and the rest, which is data for the file system. Options
// that only undo a default ("rw", "suid", "defaults") clear their flag. The words for propagation, bind, move and remount
// are not options of a mount: they are data, which file systems refuse.
func ParseOptions(options []string) (Flags, string) {
	clear := map[string]Flags{"rw": ReadOnly, "suid": NoSuid, "dev": NoDev, "exec": NoExec, "async": Sync, "symfollow": NoSymFollow, "atime": NoAtime, "defaults": 0}
	var f Flags
	var data []string
next:
	for _, o := range options {
		for _, n := range names[8:] {
			if o == n.word {
				f |= n.flag
				continue next
			}
		}
		if c, ok := clear[o]; ok {
			f &^= c
			continue
		}
		if o != "" {
			data = append(data, o)
		}
	}
	return f, strings.Join(data, ",")
}

// UnmountFlags are those of umount2(2).
type UnmountFlags int

// Flags of [Verbs.Unmount].
const (
	Detach   UnmountFlags = unix.MNT_DETACH      // hide it and all below at once; it ends when nobody uses it
	Force    UnmountFlags = unix.MNT_FORCE       // give up on a server that does not answer
	NoFollow UnmountFlags = unix.UMOUNT_NOFOLLOW // the target is no symbolic link
)
