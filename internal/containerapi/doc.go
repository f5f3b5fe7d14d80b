// Package containerapi gives the machine API what containerd runs and has: containers, the logs of pods, images.
//
// It implements interfaces of package server by a container.Client. Whoever composes a node imports it, and nobody else.
package containerapi
