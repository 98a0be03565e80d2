//! Arbitrary bytes as a job in JSON.
//! What must hold is in `properties.rs`; nothing of that is known here.
#![no_main]

#[path = "../properties.rs"]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    properties::job(bytes);
});
