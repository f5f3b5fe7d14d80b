// Command init is the PID 1 of test nodes: see the package provisiontest for what it has to say. It also answers questions on
// the port of the API: a line with a command, and an answer until the end of the connection.
package main

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 { // a child, which ends only when it is ended
		time.Sleep(time.Hour)
	}
	if err := run(); err != nil {
		fmt.Println("init:", err)
		os.Exit(1)
	}
}

func run() error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	// As the system does it: what is mounted below is seen by those that are given a part of it.
	if err := syscall.Mount("", "/", "", syscall.MS_SHARED|syscall.MS_REC, ""); err != nil {
		return fmt.Errorf("share the root: %w", err)
	}
	if err := os.MkdirAll("/run/lab", 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("lab", "/run/lab", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if err := exec.Command("/sbin/init", "child").Start(); err != nil {
		return err
	}
	count, _ := os.ReadFile("/var/starts")
	n, _ := strconv.Atoi(string(count))
	if err := os.WriteFile("/var/starts", []byte(strconv.Itoa(n+1)), 0o600); err != nil {
		return err
	}
	config, err := base64.StdEncoding.DecodeString(os.Getenv("USERDATA"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", ":50000")
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	fmt.Printf("start %d of %s\n", n+1, strings.TrimPrefix(string(config), "word: "))
	<-stop
	if _, err := os.Stat("/var/stubborn"); err == nil {
		select {}
	}
	fmt.Println("bye")
	return nil
}

func answer(c net.Conn) {
	defer c.Close()
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return
	}
	verb, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	var text []byte
	switch verb {
	case "hello":
		text = []byte("hello")
	case "read":
		text, err = os.ReadFile(arg)
	case "write":
		err = os.WriteFile(arg, nil, 0o600)
	case "mkdir":
		err = os.Mkdir(arg, 0o755)
	case "mknod": // of /dev/null
		err = syscall.Mknod(arg, syscall.S_IFCHR|0o666, 1<<8|3)
	case "open":
		_, err = os.OpenFile(arg, os.O_RDWR, 0)
	case "dial":
		var out net.Conn
		if out, err = net.DialTimeout("tcp4", arg, 2*time.Second); err == nil {
			text = []byte(out.LocalAddr().String())
		}
	case "env":
		text = []byte(strings.Join(os.Environ(), "\n"))
	case "hostname":
		var name string
		name, err = os.Hostname()
		text = []byte(name)
	case "addresses":
		all, _ := net.InterfaceAddrs()
		text = fmt.Append(nil, all)
	case "openfiles":
		var l syscall.Rlimit
		err = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
		text = fmt.Append(nil, l.Cur == l.Max)
	default:
		err = syscall.ENOSYS
	}
	if err != nil {
		text = []byte("error: " + err.Error())
	}
	_, _ = c.Write(text)
}
