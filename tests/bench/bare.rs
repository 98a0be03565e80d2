//! The helper program of the benchmarks: a bare loop that starts a command N times at width W, each child in a
//! cgroup of its own, and the job bodies `stamp`, `gate`, `laps` and `bomb`. It refuses to know qrm and every other queue: it has
//! no crates, is built with plain `rustc -O`, and calls libc by hand.
//!
//! bare loop N W [CGROUP_PARENT]   prints `{"jobs":N,"width":W,"cgroups":BOOL,"seconds":S}`
//! bare stamp FIFO [WORD]          writes `NANOSECONDS WORD` (CLOCK_MONOTONIC, taken first) into FIFO
//! bare gate FIFO                  blocks until a writer has opened FIFO and closed it again
//! bare laps N                     computes the same thing N times, about a millisecond each; prints `MEDIAN P99 WORST` in ns
//! bare bomb BYTES                 takes so many bytes as fast as it can, and writes to each page

use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_void};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::{env, fs, io, process};

#[repr(C)]
struct Timespec {
    sec: i64,
    nsec: i64,
}

/// `struct clone_args` of clone3(2), version 2 (88 bytes, with `cgroup`).
#[repr(C)]
#[derive(Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

const SYS_CLONE3: c_long = 435; // the same number on x86_64 and aarch64
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const SIGCHLD: u64 = 17;
const CLOCK_MONOTONIC: c_int = 1;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn clock_gettime(clock: c_int, out: *mut Timespec) -> c_int;
    fn execv(path: *const c_char, argv: *const *const c_char) -> c_int;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

fn main() {
    let now = monotonic_ns();
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["loop", jobs, width] => run_loop(number(jobs), number(width), None),
        ["loop", jobs, width, parent] => {
            run_loop(number(jobs), number(width), Some(Path::new(parent)))
        }
        ["stamp", fifo] => stamp(fifo, now, ""),
        ["stamp", fifo, word] => stamp(fifo, now, word),
        ["gate", fifo] => gate(fifo),
        ["laps", count] => laps(number(count)),
        ["bomb", bytes] => bomb(number(bytes)),
        _ => fail("usage: bare loop N W [CGROUP_PARENT] | stamp FIFO [WORD] | gate FIFO | laps N | bomb BYTES"),
    };
    if let Err(error) = done {
        fail(&error.to_string());
    }
}

/// Keeps `width` children in flight until `jobs` have ended; every child gets a cgroup by mkdir, is born in it, and
/// loses it by rmdir after it was reaped.
fn run_loop(jobs: usize, width: usize, parent: Option<&Path>) -> io::Result<()> {
    let mut living: HashMap<c_int, Option<PathBuf>> = HashMap::new();
    let start = monotonic_ns();
    let mut started = 0;
    while started < jobs || !living.is_empty() {
        while started < jobs && living.len() < width {
            let cgroup = parent.map(|parent| parent.join(format!("job-{started}")));
            living.insert(spawn_true(cgroup.as_deref())?, cgroup);
            started += 1;
        }
        let mut status = 0;
        // SAFETY: `status` outlives the call; -1 waits for any child of this process.
        let pid = unsafe { waitpid(-1, &mut status, 0) };
        if pid < 0 || status != 0 {
            return Err(io::Error::other(format!(
                "a child failed: pid {pid}, status {status}"
            )));
        }
        if let Some(Some(cgroup)) = living.remove(&pid) {
            fs::remove_dir(cgroup)?;
        }
    }
    let seconds = (monotonic_ns() - start) as f64 / 1e9;
    println!(
        r#"{{"jobs":{jobs},"width":{width},"cgroups":{},"seconds":{seconds:.6}}}"#,
        parent.is_some()
    );
    Ok(())
}

/// Starts /bin/true; with a cgroup, makes it and has the kernel place the child there at birth (no write to
/// cgroup.procs, no moment outside).
fn spawn_true(cgroup: Option<&Path>) -> io::Result<c_int> {
    const TRUE: &CStr = c"/bin/true";
    let mut args = CloneArgs {
        exit_signal: SIGCHLD,
        ..CloneArgs::default()
    };
    let mut held: Option<OwnedFd> = None;
    if let Some(path) = cgroup {
        fs::create_dir(path)?;
        let directory = OwnedFd::from(fs::File::open(path)?);
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = directory.as_raw_fd() as u64;
        held = Some(directory);
    }
    let argv = [TRUE.as_ptr(), std::ptr::null()];
    // SAFETY: no CLONE_VM, so the child has its own copy of memory; this process has one thread; the child only calls
    // execv and _exit.
    let pid = unsafe {
        syscall(
            SYS_CLONE3,
            &raw mut args as *mut c_void,
            size_of::<CloneArgs>(),
        )
    };
    if pid == 0 {
        unsafe {
            execv(TRUE.as_ptr(), argv.as_ptr());
            _exit(127)
        }
    }
    let error = io::Error::last_os_error();
    drop(held);
    if pid < 0 {
        Err(error)
    } else {
        Ok(pid as c_int)
    }
}

fn stamp(fifo: &str, now: u64, word: &str) -> io::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .open(fifo)?
        .write_all(format!("{now} {word}\n").as_bytes())
}

fn gate(fifo: &str) -> io::Result<()> {
    fs::File::open(fifo)?
        .read_to_end(&mut Vec::new())
        .map(|_| ())
}

fn laps(count: usize) -> io::Result<()> {
    let mut took = Vec::with_capacity(count);
    let mut memory = vec![0u64; 64 * 1024];
    for lap in 0..count as u64 {
        let begun = monotonic_ns();
        // Half a mebibyte, read and written again and again: what else runs can slow the processor, and memory too.
        for round in 0..12 {
            for (place, word) in memory.iter_mut().enumerate() {
                *word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(lap ^ round ^ place as u64);
            }
        }
        std::hint::black_box(&memory);
        took.push(monotonic_ns() - begun);
    }
    took.sort_unstable();
    println!("{} {} {}", took[count / 2], took[count * 99 / 100], took[count - 1]);
    Ok(())
}

fn bomb(bytes: usize) -> io::Result<()> {
    let mut held = Vec::new();
    for _ in 0..bytes / (1 << 20) {
        let mut piece = vec![0u8; 1 << 20];
        piece.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
        held.push(std::hint::black_box(piece));
    }
    println!("{} bytes are held", held.len() << 20);
    Ok(())
}

fn monotonic_ns() -> u64 {
    let mut time = Timespec { sec: 0, nsec: 0 };
    // SAFETY: `time` is a valid timespec for the call.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    time.sec as u64 * 1_000_000_000 + time.nsec as u64
}

fn number(text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|_| fail(&format!("not a number: {text}")))
}

fn fail(why: &str) -> ! {
    let _ = writeln!(io::stderr(), "bare: {why}");
    process::exit(2)
}
