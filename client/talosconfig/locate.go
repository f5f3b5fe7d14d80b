package talosconfig

import (
	"errors"
	"path/filepath"
)

// ServiceAccountPath is where a pod with access to the machine API finds its talosconfig.
const ServiceAccountPath = "/var/run/secrets/talos.dev/config"

// Env is what decides where the talosconfig is.
type Env struct {
	// Flag is the value of --talosconfig, empty if it is not given.
	Flag string
	// Variable is the value of $TALOSCONFIG, empty if it is not set.
	Variable string
	// Home is the user's home directory, empty if he has none.
	Home string
}

// Locate returns where the talosconfig is: what the flag says, else what the variable says, whether or not
// it exists; else the first that exists of <home>/.talos/config and ServiceAccountPath. If neither does,
// it is the one in the home, where a first one is to be written. Without a home that is an error.
//
// exists reports whether there is a file at a path.
func Locate(env Env, exists func(path string) bool) (string, error) {
	switch {
	case env.Flag != "":
		return env.Flag, nil
	case env.Variable != "":
		return env.Variable, nil
	}

	home := ""
	if env.Home != "" {
		home = filepath.Join(env.Home, ".talos", "config")
	}

	switch {
	case home != "" && exists(home):
		return home, nil
	case exists(ServiceAccountPath):
		return ServiceAccountPath, nil
	case home != "":
		return home, nil
	default:
		return "", errors.New("locate talosconfig: there is no home directory; set TALOSCONFIG or give --talosconfig")
	}
}
