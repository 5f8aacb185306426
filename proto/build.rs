//! Generates the Rust types of `guard.proto` and of two files in `vendor`, and with the feature `cri` those of the CRI;
//! without a protoc.

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
    generate_cri().expect("the CRI's types are generated");
}

#[cfg(feature = "cri")]
fn generate_cri() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["cri-v1.proto"], ["vendor"])?;
    let client = cfg!(feature = "cri-client");
    tonic_prost_build::configure().build_server(false).build_client(client).compile_fds(files)?;
    Ok(())
}
