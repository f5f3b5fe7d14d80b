package child

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// actEnv names the part that this test binary plays when it is executed as a child.
const actEnv = "CHILD_ACT"

func TestMain(m *testing.M) {
	if act := os.Getenv(actEnv); act != "" {
		// Not os.Exit, which waits a second with the race detector, and speaks about coverage.
		syscall.Exit(play(strings.Fields(act)))
	}
	if len(os.Args) > 1 && os.Args[1] == "who" { // where the environment is what is tested
		syscall.Exit(play(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// play is the child. Its first word is the part, and the others are its arguments.
func play(act []string) int {
	switch act[0] {
	case "exit":
		code, _ := strconv.Atoi(act[1])
		fmt.Println("leaving with", code)
		return code
	case "wait": // until it is killed by a signal
		fmt.Println("ready")
		select {}
	case "polite": // ends well when it is asked to
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM, syscall.SIGUSR1)
		fmt.Println("ready")
		fmt.Println("got", <-c)
		return 0
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ready")
		select {}
	case "streams":
		for i := range 3 {
			fmt.Fprintln(os.Stdout, "out", i)
			fmt.Fprintln(os.Stderr, "err", i)
		}
		fmt.Print("unfinished")
		return 0
	case "flood":
		line := []byte(strings.Repeat("flood ", 20) + "\n")
		for {
			if _, err := os.Stdout.Write(line); err != nil {
				return 1
			}
		}
	case "who":
		dir, _ := os.Getwd()
		pgid, _ := syscall.Getpgid(0)
		in, _ := os.Stdin.Read(make([]byte, 1))
		fmt.Println("args", os.Args, "env", os.Environ(), "dir", dir, "uid", os.Getuid(), "gid", os.Getgid(), "leads", pgid == os.Getpid(), "stdin", in)
		return 0
	case "family": // a deaf parent of a polite child
		signal.Ignore(syscall.SIGTERM)
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{actEnv + "=polite"}
		cmd.Stdout = os.Stdout
		if err := cmd.Run(); err != nil {
			fmt.Println(err)
			return 3
		}
		fmt.Println("the child is gone")
		select {}
	case "parent": // leaves a grandchild that is deaf and holds a connection to the socket; then plays the rest
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = []string{actEnv + "=hold " + act[1]}
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			fmt.Println(err)
			return 3
		}
		return play(act[2:])
	case "hold":
		signal.Ignore(syscall.SIGTERM)
		conn, err := net.Dial("unix", act[1])
		if err != nil {
			fmt.Println(err)
			return 3
		}
		fmt.Fprintln(conn, os.Getpid())
		select {}
	}
	return 2
}

// act returns the Spec of a child that plays a part.
func act(part string) Spec {
	return Spec{Path: "/proc/self/exe", Name: "child", Env: []string{actEnv + "=" + part}}
}
