// Package vitals finds out whether a cluster is healthy, by the published checks.
//
// [Run] asks all machines and Kubernetes side by side, again and again, and keeps the last answer of each in [Facts]. A check
// is a pure function of the facts: it passes, does not apply, or says why not. Each is told as it passes, once; the run ends
// when all have, or with an [*Error] that has for each check that is left what it last saw. A machine that does not answer is
// told within [Limit], whatever check is at it.
//
// What is asked is behind two small interfaces, [Machines] and [Kubernetes]. [NewMachines] and [NewKubernetes] implement them
// with the machine API and with plain HTTPS requests, without the library of Kubernetes' clients. [Checker] runs the
// checks on a node of the control plane, for others.
//
// It may be imported by talosctl and by who puts a node together. It prints nothing.
package vitals
