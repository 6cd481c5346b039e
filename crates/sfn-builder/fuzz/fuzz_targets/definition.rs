#![no_main]

#[path = "../uses.rs"]
mod uses;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| uses::definition(bytes));
