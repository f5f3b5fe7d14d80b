// Package command has what every command of talosctl is built from: the process around it ([Env]), the checks of a command
// line, and the ways in which commands read patches and write files, so that all of them behave the same.
//
// A command is made by a constructor that takes an Env and returns a [cobra.Command]; there are no globals, and tests run
// commands in-process with an Env of their own.
package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"talos.internal/client/talosconfig"
	"talos.internal/config/schema"
	"talos.internal/secret"
)

// Env is the process that a command runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	// Getenv returns an environment variable, "" if it is not set.
	Getenv func(string) string
	// Home is the user's home directory; "" if there is none.
	Home string
	// Now tells the time.
	Now func() time.Time
}

// Process returns the Env of the running process.
func Process() Env {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "" // commands that need it say so
	}
	return Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Home: home, Now: time.Now}
}

// ErrReported is the error of a command that has told its user already what went wrong: nothing more is printed.
var ErrReported = errors.New("some of it did not work; see above")

// TalosconfigPath returns where the client's configuration is; flag is the value of --talosconfig, "" if it is not given.
func (e Env) TalosconfigPath(flag string) (string, error) {
	return talosconfig.Locate(talosconfig.Env{Flag: flag, Variable: e.Getenv("TALOSCONFIG"), Home: e.Home}, func(path string) bool {
		_, err := os.Stat(path)
		return err == nil
	})
}

// Warn prints a line to standard error.
func (e Env) Warn(format string, args ...any) { fmt.Fprintf(e.Stderr, format+"\n", args...) }

// Confirm asks a question that is answered by y or n, and reports whether the answer is yes. Anything but y and yes is no.
// It fails if standard input is no terminal, since then nobody is there to answer.
func (e Env) Confirm(question string) (bool, error) {
	file, ok := e.Stdin.(*os.File)
	if !ok {
		return false, fmt.Errorf("%s Nobody can be asked, since standard input is no terminal; use -y", question)
	}
	// A character device is as near as one gets without a system call of its own; /dev/null, which is one too, answers no.
	if info, err := file.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false, fmt.Errorf("%s Nobody can be asked, since standard input is no terminal; use -y", question)
	}
	fmt.Fprintf(e.Stderr, "%s [y/N] ", question)
	answer, err := bufio.NewReader(e.Stdin).ReadString('\n')
	if err != nil && answer == "" {
		e.Warn("")
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes", nil
}

// WarnRoles warns of roles that give a person no rights at all: misspelt ones, and those of machines. They are no error,
// since a newer machine may know them.
func (e Env) WarnRoles(roles []string) {
	known := []string{secret.RoleAdmin, secret.RoleOperator, secret.RoleReader, secret.RoleEtcdBackup}
	for _, role := range roles {
		near := schema.Nearest(role, known)
		switch {
		case near == role:
		case near != "":
			e.Warn("warning: machines do not know the role %q; did you mean %q?", role, near)
		default:
			e.Warn("warning: machines do not know the role %q; there are %s", role, strings.Join(known, ", "))
		}
	}
}
