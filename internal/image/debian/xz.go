package debian

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/ulikunitz/xz"
)

// openXZ unpacks what xz(1) packed: by that program where there is one, because the kernel's package has 106 MiB that take it
// 4 seconds, and the module below half a minute. What comes out is the same: the format has a checksum of its own.
func openXZ(r io.Reader) (io.ReadCloser, error) {
	program, err := exec.LookPath("xz")
	if err != nil {
		plain, err := xz.NewReader(r)
		if err != nil {
			return nil, err
		}
		return io.NopCloser(plain), nil
	}
	p := &xzProcess{cmd: exec.Command(program, "--decompress", "--stdout", "--quiet")}
	p.cmd.Stdin, p.cmd.Stderr = r, &p.said
	if p.out, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, p.cmd.Start()
}

// xzProcess is the program at work.
type xzProcess struct {
	cmd   *exec.Cmd
	out   io.Reader
	said  bytes.Buffer
	ended bool
}

// Read gives io.EOF only after the program has said that all was right.
func (p *xzProcess) Read(b []byte) (int, error) {
	n, err := p.out.Read(b)
	if !errors.Is(err, io.EOF) || p.ended {
		return n, err
	}
	p.ended = true
	if err := p.cmd.Wait(); err != nil {
		return n, fmt.Errorf("xz: %w: %s", err, bytes.TrimSpace(p.said.Bytes()))
	}
	return n, io.EOF
}

// Close ends the program if it has more to say.
func (p *xzProcess) Close() error {
	if p.ended {
		return nil
	}
	p.ended = true
	err := p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed, or says what nobody asks any more
	return err
}
