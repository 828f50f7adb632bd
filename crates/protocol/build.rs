//! Compiles `proto/link.proto` with `protox`, so that no `protoc` is needed on the machine.

use std::error::Error;

/// Messages whose fields are secrets: their `Debug` is written by hand and shows no content.
const SILENT: [&str; 7] = [
    ".burgrave.link.v1.Request.operation",
    ".burgrave.link.v1.Response.outcome",
    ".burgrave.link.v1.Activate",
    ".burgrave.link.v1.Encrypt",
    ".burgrave.link.v1.Decrypted",
    ".burgrave.link.v1.Request",
    ".burgrave.link.v1.Response",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/link.proto");
    let descriptors = protox::compile(["link.proto"], ["proto"])?;
    prost_build::Config::new().skip_debug(SILENT).compile_fds(descriptors)?;
    Ok(())
}
