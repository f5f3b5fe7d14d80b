// Command etcd is etcd and etcdutl in one executable.
//
// The two share nearly all of their code. The program that runs is chosen by the base name of argv[0]: under the name etcdutl it is
// etcdutl, which makes a member's data of a snapshot when a cluster is recovered; under any other it is etcd.
package main

import (
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/etcdutl/v3/etcdutl"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	if filepath.Base(os.Args[0]) != "etcdutl" {
		etcdmain.Main(os.Args)
		return
	}
	if err := utility().Execute(); err != nil {
		os.Exit(1) // cobra has said why
	}
}

// utility is upstream's etcdutl, with the commands that work on a snapshot or on a member's data and the same flags for all of them.
func utility() *cobra.Command {
	c := &cobra.Command{Use: "etcdutl", Short: "Works on the files of an etcd that does not run."}
	c.PersistentFlags().DurationVar(&etcdutl.FlockTimeout, "timeout", 10*time.Second, "time to wait for the lock of the database, 0 for ever")
	c.PersistentFlags().StringVarP(&etcdutl.OutputFormat, "write-out", "w", "simple", "fields, json, protobuf, simple or table")
	c.AddCommand(etcdutl.NewSnapshotCommand(), etcdutl.NewHashKVCommand(), etcdutl.NewDefragCommand(), etcdutl.NewMigrateCommand(),
		etcdutl.NewVersionCommand())
	return c
}
