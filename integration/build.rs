//! Generates the CRI client from `vendor/cri-v1.proto`, without a protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=vendor");
    let files = protox::compile(["vendor/cri-v1.proto"], ["vendor"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
