// Package child runs a service as a process of its own.
//
// A [Spec] says what is executed and within which limits, as plain data. A [Launcher] makes a process of it: this is the
// interface through which the kernel is reached, and where processes are put into cgroups. [Exec] is one that is made with
// the standard library alone; it refuses a Spec that asks for more. A [Runner] drives one [Process] as package supervise
// wants it: output goes to the log of the service, a cancelled context becomes the stop signal, the end of the grace time
// becomes SIGKILL.
//
// Each process leads a process group. Signals go to the whole group, and what a process leaves behind there is killed when it
// has ended, so that its next run does not meet it; see [Leftovers] for those that must live on.
//
// PID 1 collects the status of every orphan with wait4(-1), and so would take the status of services from those that wait for
// them. Exec therefore gets statuses from a [Reaper] when it has one.
//
// Containers are run elsewhere, through containerd.
package child
