//! `qrm-shim`: watches one job from before its first instruction until its last process is gone.
//! It knows nothing of queues, users or sockets; all it is told is in the plan on descriptor 3.
#![cfg_attr(not(test), no_main)]

/// The entry point that the C runtime calls. Rust's own would install a stack overflow handler, read
/// `/proc/self/maps` and set up a thread first, and the shim is started for every job and needs none of it.
#[cfg(not(test))]
// SAFETY: no other `main` is linked: `no_main` keeps Rust's away.
#[unsafe(no_mangle)]
extern "C" fn main(count: std::ffi::c_int, arguments: *const *const std::ffi::c_char) -> std::ffi::c_int {
    // SAFETY: the C runtime passes this many arguments, each a C string that lives as long as the process.
    let argument = (count > 1).then(|| unsafe { std::ffi::CStr::from_ptr(*arguments.add(1)) });
    qrm_shim::main(argument)
}
