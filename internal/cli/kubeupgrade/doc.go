// Package kubeupgrade has the command that brings the Kubernetes of a running cluster to another version.
//
// [newPlan] is pure: from the machines, their configs and what a person wants it makes the steps, or says why not. upgrading carries them
// out: each changes the config of one machine and waits until what follows from it is there. A plan is made of what is still to be done,
// so a run that was interrupted is gone on with by the same command.
package kubeupgrade
