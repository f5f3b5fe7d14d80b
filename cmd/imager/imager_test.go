package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imager": func() {
		if err := root(os.Stdout, os.Stderr).Execute(); err != nil {
			fmt.Fprintln(os.Stderr, "imager:", err)
			os.Exit(1)
		}
	}})
}

func TestScripts(t *testing.T) { testscript.Run(t, testscript.Params{Dir: "testdata"}) }
