package command

import (
	"fmt"
	"strings"
	"time"

	"talos.internal/client/talosconfig"
	"talos.internal/secret"
)

// ReadSecrets reads a secrets.yaml, which must be good now.
func (e Env) ReadSecrets(file string) (*secret.Bundle, error) {
	data, err := e.ReadFile(file)
	if err != nil {
		return nil, err
	}
	b, err := secret.LoadBundle(data)
	if err == nil {
		err = b.Validate(e.Now())
	}
	if err != nil {
		return nil, About(err, "read secrets %s", FileName(file))
	}
	return b, nil
}

// Talosconfig returns a talosconfig with a single context, whose certificate is new, carries roles and lives for ttl.
func (e Env) Talosconfig(context string, endpoints []string, ca *secret.Authority, roles []string, ttl time.Duration) (*talosconfig.Config, error) {
	pair, err := ca.Issue(secret.OSClient(roles, ttl), e.Now())
	if err != nil {
		return nil, fmt.Errorf("make the client's certificate: %w", err)
	}
	return &talosconfig.Config{Context: context, Contexts: map[string]*talosconfig.Context{
		context: talosconfig.NewContext(endpoints, nil, ca.CertificatePEM(), pair),
	}}, nil
}

// About returns err with what it is about before it. If err is a list of problems, one a line, each stays on a line of its own.
func About(err error, format string, args ...any) error {
	what, text := fmt.Sprintf(format, args...), strings.TrimRight(err.Error(), "\n")
	if strings.Contains(text, "\n") {
		return listError{err, what + ":\n  " + strings.ReplaceAll(text, "\n", "\n  ")}
	}
	return fmt.Errorf("%s: %w", what, err)
}

// listError is an error with a text of its own.
type listError struct {
	cause error
	text  string
}

func (e listError) Error() string { return e.text }

// Unwrap returns the cause.
func (e listError) Unwrap() error { return e.cause }
