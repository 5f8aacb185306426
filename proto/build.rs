//! Generates the Rust types of `guard.proto` and of two files in `vendor`, without a protoc.

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
}
