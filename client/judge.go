package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// maintenanceName is the common name of a server in maintenance mode (contract, section 1.10).
const maintenanceName = "maintenance-service.talos.dev"

// judge says what an attempt means. client is the certificate that was shown, nil if that is not known.
func judge(endpoint string, a attempt, client *x509.Certificate) EndpointError {
	e := EndpointError{Endpoint: endpoint, Err: a.err}

	switch {
	case a.err != nil:
		e.Cause, e.Problem, e.Advice = judgeError(a.err, client)
	case a.phase == phaseNone:
		e.Cause, e.Problem = CauseNotTried, "not tried in the time that the call had"
	case a.phase == phaseConnected:
		e.Cause, e.Problem, e.Advice = CauseConnected, "connected, but too late for this call", "try again"
	case a.phase == phaseHandshake:
		e.Cause, e.Problem, e.Advice = CauseTimeout, "accepted the connection, but has not finished the handshake",
			"is the node overloaded, or does something else listen there?"
	default:
		e.Cause, e.Problem, e.Advice = CauseTimeout, adviceTimeout.problem, adviceTimeout.advice
	}

	return e
}

var adviceTimeout = struct{ problem, advice string }{
	"no answer", "is the node up, is the address right, and does every firewall between let the port through?",
}

// judgeError looks at types where there are any; of the alerts of a peer crypto/tls only has a text.
func judgeError(err error, client *x509.Certificate) (cause Cause, problem, advice string) {
	var (
		op       *net.OpError
		pin      *fingerprintError
		record   tls.RecordHeaderError
		dns      *net.DNSError
		timeout  interface{ Timeout() bool }
		refusals = errors.As(err, &op) && op.Op == "remote error"
	)

	if cause, problem, advice := judgeCertificate(err); cause != "" {
		return cause, problem, advice
	}

	switch {
	case errors.As(err, &pin):
		return CauseFingerprint, "its certificate has another fingerprint than the expected: " + pin.got.String(),
			"compare it with what the machine's console shows; if they differ, somebody is between"
	case refusals:
		return judgeAlert(op.Err, client)
	case errors.As(err, &record):
		return CauseNotTLS, "what answers does not speak TLS", "is that the port of the machine API, " + fmt.Sprint(DefaultPort) + "?"
	case errors.Is(err, syscall.ECONNREFUSED):
		return CauseRefused, "connection refused: nothing listens there",
			"is the node up, and is that the port of the machine API, " + fmt.Sprint(DefaultPort) + "?"
	case errors.As(err, &dns) && !dns.IsTimeout:
		return CauseUnknownName, fmt.Sprintf("the name %s cannot be resolved", dns.Name), "is it spelled right, and is the DNS server up?"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return CauseUnreachable, "no route to the address", "is the node up, and is this computer in a network that reaches it?"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		return CauseTimeout, adviceTimeout.problem, adviceTimeout.advice
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return CauseClosed, "closed the connection before it was set up",
			"is the node starting or shutting down, or is there a proxy between?"
	default:
		return CauseOther, err.Error(), ""
	}
}

// judgeCertificate is about the server's certificate; cause is empty if err is not.
func judgeCertificate(err error) (cause Cause, problem, advice string) {
	var (
		unknown x509.UnknownAuthorityError
		invalid x509.CertificateInvalidError
		name    x509.HostnameError
	)

	switch {
	case errors.As(err, &unknown) && inMaintenance(err):
		return CauseMaintenance, "the machine is in maintenance mode: it has no config of this cluster",
			"use --insecure, and --cert-fingerprint if you know it"
	case errors.As(err, &unknown):
		return CauseAuthority, "its certificate is not signed by an authority that the talosconfig trusts",
			"is it a node of this cluster, and is the right context in use?"
	case errors.As(err, &name):
		return CauseWrongName, "its certificate is not for " + name.Host + " but for " + names(name.Certificate),
			"connect by one of these, or add the missing one to machine.certSANs"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return judgeTime(invalid.Cert, time.Now())
	default:
		return "", "", ""
	}
}

func judgeTime(cert *x509.Certificate, now time.Time) (cause Cause, problem, advice string) {
	if now.Before(cert.NotBefore) {
		return CauseNotYetValid, "its certificate is valid only from " + stamp(cert.NotBefore) + ", and here it is " + stamp(now),
			"is the clock of this computer or that of the node wrong?"
	}

	return CauseExpired, "its certificate expired at " + stamp(cert.NotAfter) + ", and here it is " + stamp(now),
		"nodes renew theirs by themselves: is the clock of this computer or that of the node wrong?"
}

// judgeAlert is about what the server said before it hung up (RFC 8446 section 6.2). Servers are terse on purpose, and so
// what is known on this side about the client's certificate goes first.
func judgeAlert(alert error, client *x509.Certificate) (cause Cause, problem, advice string) {
	const renew = "make new credentials with talosctl config new, or from the cluster's secrets"

	text := strings.TrimPrefix(alert.Error(), "tls: ")

	switch text {
	case "bad certificate", "unsupported certificate", "revoked certificate", "expired certificate", "unknown certificate",
		"unknown certificate authority", "access denied", "certificate required":
	default:
		return CauseOther, "the server ended the handshake: " + text, ""
	}

	now := time.Now()

	switch {
	case client == nil:
		return CauseCredentials, "the server wants a client certificate, and accepted none (" + text + ")",
			"the node is not in maintenance mode: leave out --insecure, and use a talosconfig with credentials"
	case now.After(client.NotAfter):
		return CauseCredentials, "your client certificate expired at " + stamp(client.NotAfter), renew
	case now.Before(client.NotBefore):
		return CauseCredentials, "your client certificate is valid only from " + stamp(client.NotBefore) + ", and here it is " + stamp(now),
			"is the clock of this computer wrong?"
	default:
		return CauseCredentials, "the server refused your client certificate (" + text + ")",
			"is it of this cluster and for clients, and is the node's clock right? Else " + renew
	}
}

// inMaintenance looks at the server's own certificate: the one in an UnknownAuthorityError may be that of its authority.
// Nobody vouches for the name, but all that comes of it is an advice.
func inMaintenance(err error) bool {
	var verify *tls.CertificateVerificationError

	return errors.As(err, &verify) && len(verify.UnverifiedCertificates) > 0 &&
		verify.UnverifiedCertificates[0].Subject.CommonName == maintenanceName
}

// names lists what a certificate is for, as far as it fits in a line.
func names(cert *x509.Certificate) string {
	const most = 8

	var all []string
	for _, ip := range cert.IPAddresses {
		all = append(all, ip.String())
	}

	all = append(all, cert.DNSNames...)

	switch {
	case len(all) == 0:
		return "no name at all"
	case len(all) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	default:
		return strings.Join(all, ", ")
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
