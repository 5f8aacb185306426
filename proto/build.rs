//! Generates the Rust types of `vendor/*.proto`, without a protoc.

fn main() {
    println!("cargo:rerun-if-changed=vendor");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("vendor")
        .inputs(["vendor/runtimeoptions.proto", "vendor/guard.proto", "vendor/sandbox.proto"])
        .customize(protobuf_codegen::Customize::default().lite_runtime(true))
        .cargo_out_dir("generated")
        .run_from_script();
}
