package peercred

import (
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestThePeerIsTheProcessThatConnected(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	want := Credentials{PID: int32(os.Getpid()), UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	for _, c := range []net.Conn{client, server} {
		if got, err := Of(c.(*net.UnixConn)); err != nil || got != want {
			t.Errorf("Of = %+v, %v; want %+v", got, err, want)
		}
	}
	_ = server.Close()
	if got, err := Of(server.(*net.UnixConn)); err == nil {
		t.Errorf("Of a closed connection = %+v; want an error", got)
	}
}
