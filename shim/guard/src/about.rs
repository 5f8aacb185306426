//! What a person is told who types the shim's name: containerd starts this program, and everything that a person can
//! do with it is in the operator's command.

/// The program, as containerd finds it.
const NAME: &str = "containerd-shim-runsc-guard-v2";

/// The answer to `--help`.
pub fn help() -> String {
    format!(
        "\
{NAME} {version}: the containerd shim of runsc-guard

It stands between containerd and gVisor's shim, containerd-shim-runsc-v1 (the real shim). It passes every request
on and, when a Kill, Delete, Create or Shutdown has no effect by its deadline, ends the gVisor sandbox itself.

containerd starts this program when a container of a runtime handler with runtime_type
io.containerd.runsc-guard.v2 begins and ends; one process of it stays for each pod. There is no reason to run it
by hand.

For people:
  runsc-guard --help              the operator's command: lists, explains and ends the sandboxes of this node
  runsc-guard doctor              checks that containerd and gVisor on this node are set up for it
  man runsc-guard                 manual page of that command, where it was installed from a package
  man runsc-guard.toml            the configuration, key by key
  README.md, hack/docs/           the pages, in the source repository; troubleshooting.md explains every message

Usage by containerd (flags as in Go: -name VALUE):
  {NAME} -namespace NS -address SOCKET -publish-binary FILE -id ID [-bundle DIR] [-debug] start|delete
  {NAME} -info                    features of the real shim, as protobuf; reads options from stdin

Usage by people:
  -h, -help, --help               this text
  -v, -version                    version of the real shim on stdout, of this program on stderr
  --version                       both on stdout
",
        version = env!("CARGO_PKG_VERSION")
    )
}

/// What `-v` and `--version` say of this program.
pub fn version() -> String {
    format!(
        "\
{NAME} {version}: the containerd shim of runsc-guard
containerd starts it, in front of gVisor's shim (the real shim), to end gVisor sandboxes that hang.
The operator's command is runsc-guard (runsc-guard --help); all else: {NAME} --help
",
        version = env!("CARGO_PKG_VERSION")
    )
}
