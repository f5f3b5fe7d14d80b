// Package container runs system services as containers, and shows what containerd runs, through containerd's API.
//
// A Spec says what is run, as plain data: image, arguments, user, mounts, capabilities, namespaces. Render makes the OCI runtime
// specification of it and of what the host allows; it is a pure function. A Runner drives one such container as package
// supervise wants it: it pulls the image if it is not there, removes what an earlier run left, starts, hands the output to the
// log of the service, stops with a signal, kills when the time is over, and removes everything at the end.
//
// A Client is the connection to one containerd. System services live in the namespace [System], pods in [Pods], which belongs to
// kubelet: there the package only looks, pulls images, and kills what an operator wants restarted.
//
// No program is executed by this package: containers are made by containerd's shim, output comes through FIFOs.
//
// Which services there are, and how containerd itself is configured and run, is not decided here.
package container
