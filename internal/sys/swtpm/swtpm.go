// Package swtpm runs swtpm, a TPM 2.0 in software, for tests.
//
// Only tests import it.
package swtpm

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TPM is a running one. Its state is in a directory, so that it can be started again as the same TPM.
type TPM struct {
	net.Conn
	t    testing.TB
	dir  string
	stop func()
}

// startLimit is how long it may take to answer on a busy computer.
const startLimit = 20 * time.Second

// Start starts a new TPM, which ends with the test. A computer that has no swtpm skips the test.
func Start(t testing.TB) *TPM {
	t.Helper()
	if _, err := exec.LookPath("swtpm"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("CI has to have swtpm")
		}
		t.Skip("swtpm is not installed (package swtpm); CI has it")
	}
	// The path of a socket has at most 107 bytes, which t.TempDir does not mind.
	dir, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		t.Fatal(err)
	}
	tpm := &TPM{t: t, dir: dir}
	t.Cleanup(func() {
		tpm.stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	tpm.start()
	return tpm
}

// Restart is a power cut and a start: the registers have their first values again, and what is not kept is lost.
func (p *TPM) Restart() {
	p.t.Helper()
	p.stop()
	p.start()
}

func (p *TPM) start() {
	p.t.Helper()
	p.stop = func() {}
	socket := filepath.Join(p.dir, "s")
	_ = os.Remove(socket)
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+p.dir, "--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear")
	cmd.Stderr = p.t.Output()
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.stop = func() {
		if p.Conn != nil {
			_ = p.Close()
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		p.Conn = nil
	}
	var err error
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if p.Conn, err = net.Dial("unix", socket); err == nil {
			return
		}
	}
	p.t.Fatal(fmt.Errorf("swtpm does not listen after %v: %w", startLimit, err))
}
