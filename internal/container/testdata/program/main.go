// Command program is what the tests run in a container.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Println("the image's own arguments")
		return
	}
	switch os.Args[1] {
	case "show":
		show()
	case "exit":
		code, _ := strconv.Atoi(os.Args[2])
		os.Exit(code)
	case "serve":
		c := make(chan os.Signal, 1)
		signal.Notify(c, syscall.SIGTERM)
		fmt.Println("serving")
		fmt.Printf("got %v\n", <-c)
	case "deaf":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("serving")
		time.Sleep(time.Hour)
	case "flood":
		for i := range 20000 {
			fmt.Println("line", i)
		}
	}
}

// show prints what the process is and may do.
func show() {
	host, _ := os.Hostname()
	fmt.Println("args", os.Args[1:], "uid", os.Getuid(), "gid", os.Getgid(), "pid1", os.Getpid() == 1, "host", host)
	fmt.Println("env", os.Getenv("FROM_IMAGE"), os.Getenv("FROM_SPEC"))
	fmt.Fprintln(os.Stderr, "this is standard error")
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "CapEff") || strings.HasPrefix(line, "NoNewPrivs") || strings.HasPrefix(line, "Seccomp:") {
			fmt.Print(line)
		}
	}
	score, _ := os.ReadFile("/proc/self/oom_score_adj")
	fmt.Print("oom ", string(score))
	data, err := os.ReadFile("/data/file")
	fmt.Printf("data %q %v\n", data, err)
	fmt.Println("write", os.WriteFile("/data/written", []byte("x"), 0o600), os.WriteFile("/new", nil, 0o600))
}
