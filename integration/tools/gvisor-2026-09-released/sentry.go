// The sentry as a program of its own, which gVisor's tarball has in gvisor-bin/. All of it is in the module that
// ../gvisor-2026-09 pins; only upstream's own main, which says what this one says, is left out there.
package main

import (
	"gvisor.dev/gvisor/runsc/cli"
	"gvisor.dev/gvisor/runsc/cmd/sentry/sentrycmd"
	"gvisor.dev/gvisor/runsc/cmd/util"
	"gvisor.dev/gvisor/runsc/gvisorbinaries"
)

const group = "of runsc alone"

func main() {
	commands := map[util.SubCommand]string{new(sentrycmd.Boot): group, new(sentrycmd.Umount): group}
	cli.Run(&gvisorbinaries.GvisorSentry, commands, nil)
}
