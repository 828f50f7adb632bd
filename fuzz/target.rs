//! The one source of all fuzz targets: runs the body that has this binary's name.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| burgrave_fuzz::run(env!("CARGO_BIN_NAME"), bytes));
