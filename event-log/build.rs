//! Generates the gRPC code from `proto/event_log.proto`, with no `protoc` to install.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["proto/event_log.proto"], ["proto"])?;
    // For the service that tells clients what there is.
    let path = std::path::PathBuf::from(std::env::var("OUT_DIR")?).join("event_log.bin");
    std::fs::write(path, prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .bytes(".")
        // Ours keeps its texts where they came in: there are millions of them.
        .extern_path(".dbevent.eventlog.v1.Record", "crate::Record")
        .extern_path(".dbevent.eventlog.v1.Records", "crate::records::Records")
        .compile_fds(descriptors)?;
    Ok(())
}
