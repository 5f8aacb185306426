//! Generates the Rust types of `guard.proto` and of two files in `vendor`, and with the feature `cri` those of the CRI
//! and of containerd's own API; without a protoc.

fn main() {
    println!("cargo:rerun-if-changed=guard.proto");
    println!("cargo:rerun-if-changed=vendor");
    protobuf_codegen::Codegen::new()
        .pure()
        .includes([".", "vendor"])
        .inputs(["guard.proto", "vendor/runtimeoptions.proto", "vendor/sandbox.proto"])
        .customize(protobuf_codegen::Customize::default().lite_runtime(true))
        .cargo_out_dir("generated")
        .run_from_script();
    #[cfg(feature = "cri")]
    generate_clients().expect("the types of the CRI and of containerd's API are generated");
}

#[cfg(feature = "cri")]
fn generate_clients() -> Result<(), Box<dyn std::error::Error>> {
    let builder =
        || tonic_prost_build::configure().build_server(false).build_client(cfg!(feature = "cri-client"));
    builder().compile_fds(protox::compile(["cri-v1.proto"], ["vendor"])?)?;
    let api = protox::compile(["containers.proto", "namespace.proto", "tasks.proto"], ["vendor"])?;
    builder().include_file("containerd.rs").compile_fds(api)?;
    Ok(())
}
