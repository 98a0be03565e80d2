//! A process that borrows our memory until it executes something: no page is copied, and the job's group, its first
//! instruction and its pid are all there before we go on.
//! It knows nothing of what the process does.

use std::cell::UnsafeCell;
use std::ffi::{c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

/// What the child runs on, deep enough for a path and a page of `/proc` in a build without optimisation; what is not
/// touched costs nothing.
const STACK_BYTES: usize = 128 * 1024;

/// From linux/sched.h; libc's constant of this name does not fit its type.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes a process that runs `life(data)`, inside this group of version 2 if there is one, and returns its pid when it
/// has executed something or has ended. An error of kind `Unsupported`: the kernel cannot make it inside a group (it
/// is older than 5.7, or a container forbids clone3(2)), and nothing was done.
///
/// # Safety
/// There is only one thread. `life` does not return and, as it may be killed at any time, leaves our memory sound at
/// every moment: it allocates nothing and changes nothing but atomics and buffers of plain bytes. `data` is what it
/// expects.
pub(crate) unsafe fn vfork(
    group: Option<&OwnedFd>,
    life: extern "C" fn(*mut c_void) -> c_int,
    data: *mut c_void,
) -> io::Result<u32> {
    match group {
        // SAFETY: as the caller promises.
        Some(group) => unsafe { clone_into(group, life, data) },
        // SAFETY: the same.
        None => unsafe { clone(life, data) },
    }
}

/// The child's stack. We stand still while it is used, so that one is enough.
#[repr(align(16))]
struct Stack(UnsafeCell<[u8; STACK_BYTES]>);

// SAFETY: only a child of a process with one thread uses it, and that one thread waits meanwhile.
unsafe impl Sync for Stack {}

static STACK: Stack = Stack(UnsafeCell::new([0; STACK_BYTES]));

unsafe fn clone(life: extern "C" fn(*mut c_void) -> c_int, data: *mut c_void) -> io::Result<u32> {
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: as the caller of `vfork` promises. The stack grows downwards on every machine that Rust's Linux runs on.
    let pid = unsafe { libc::clone(life, STACK.0.get().byte_add(STACK_BYTES).cast(), flags, data) };
    if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid.cast_unsigned()) }
}

/// clone3(2): the C library has no function for it.
unsafe fn clone_into(group: &OwnedFd, life: extern "C" fn(*mut c_void) -> c_int, data: *mut c_void) -> io::Result<u32> {
    // SAFETY: all-zero is what the manual page asks for where nothing is wanted.
    let mut args: libc::clone_args = unsafe { MaybeUninit::zeroed().assume_init() };
    args.flags = (libc::CLONE_VM | libc::CLONE_VFORK) as u64 | CLONE_INTO_CGROUP;
    args.exit_signal = libc::SIGCHLD as u64;
    args.stack = STACK.0.get() as u64;
    args.stack_size = STACK_BYTES as u64;
    args.cgroup = group.as_raw_fd() as u64;
    // SAFETY: as the caller of `vfork` promises.
    let result = unsafe { clone3(&raw const args, life, data) };
    match (u32::try_from(result), -result as i32) {
        (Ok(pid), _) => Ok(pid),
        // It is missing, does not know groups, or a container's filter forbids it.
        (_, libc::ENOSYS | libc::EINVAL | libc::E2BIG | libc::EOPNOTSUPP | libc::EPERM) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        (_, errno) => Err(io::Error::from_raw_os_error(errno)),
    }
}

#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: *const libc::clone_args, life: extern "C" fn(*mut c_void) -> c_int, data: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but rax, rcx and r11. The parent falls through; the child, on the end of
    // its own stack, which is aligned to 16 bytes as a call wants it, never returns.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 as isize => result,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") data,
            in("r13") life,
            out("rcx") _,
            out("r11") _,
        );
    }
    result
}

#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: *const libc::clone_args, life: extern "C" fn(*mut c_void) -> c_int, data: *mut c_void) -> isize {
    let result: isize;
    // SAFETY: the kernel keeps all registers but x0. The parent falls through; the child, on the end of its own
    // stack, which is aligned to 16 bytes, never returns.
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") args => result,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3 as usize,
            in("x20") data,
            in("x21") life,
        );
    }
    result
}

/// On other machines the child joins its group by itself.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: *const libc::clone_args, _: extern "C" fn(*mut c_void) -> c_int, _: *mut c_void) -> isize {
    -(libc::ENOSYS as isize)
}
