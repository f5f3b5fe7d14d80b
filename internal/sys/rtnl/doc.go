// Package rtnl lists, watches and changes the links, addresses, routes and routing rules of a network namespace, over
// rtnetlink(7).
//
// A [Conn] belongs to one namespace. Lists are of one moment for each call; [Conn.Watch] says that something changed, and
// not what: whoever watches lists again, and so cannot miss anything, whatever the kernel's buffer loses. Changes answer
// with the kernel's errors: fs.ErrExist, fs.ErrPermission, ENODEV for a link that is not there, ESRCH for a route.
//
// [Memory] is a namespace in memory, for tests of what stands on it. Both pass one suite.
//
// It speaks through github.com/vishvananda/netlink, whose types stay inside. Statistics of devices are package proc's.
// Linux only; anything may import it that may import internal/sys.
package rtnl
