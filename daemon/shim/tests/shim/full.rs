//! A full disk: the start is refused cleanly, and the end is recorded all the same.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::ptr;

use qrm_shim::handshake::Report;
use qrm_shim::record::{Exit, Step};
use qrm_shim::run_file::{self, RunFile};
use qrm_shim::status;

use crate::scene::{Scene, Shim, claimed, names};

/// A tmpfs of our own that is mounted nowhere; `None` where we may not.
fn tmpfs(options: &[(&str, &str)]) -> Option<(File, PathBuf)> {
    let call = |number, args: [usize; 5]| {
        let fd = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
        (fd >= 0).then_some(fd as i32)
    };
    let context = call(libc::SYS_fsopen, [c"tmpfs".as_ptr() as usize, 1, 0, 0, 0])?;
    let context = unsafe { OwnedFd::from_raw_fd(context) };
    let fd = context.as_raw_fd() as usize;
    for (key, value) in options {
        let (key, value) = (CString::new(*key).unwrap(), CString::new(*value).unwrap());
        call(libc::SYS_fsconfig, [fd, 1, key.as_ptr() as usize, value.as_ptr() as usize, 0])?;
    }
    call(libc::SYS_fsconfig, [fd, 6, ptr::null::<u8>() as usize, 0, 0])?;
    let mount = unsafe { OwnedFd::from_raw_fd(call(libc::SYS_fsmount, [fd, 1, 0, 0, 0])?) };
    let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let dir = File::open(path).unwrap();
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd()).into();
    Some((dir, path))
}

#[test]
fn a_start_that_finds_no_space_is_reported_and_leaves_nothing() {
    // The root is one inode; then come the logs.
    for (files, step) in [Step::Stdout, Step::Stderr].into_iter().enumerate() {
        let Some((dir, path)) = tmpfs(&[("nr_inodes", &(files + 1).to_string())]) else {
            return println!("SKIP: we may not mount");
        };
        let scene = Scene::sh("echo ran > marker");
        let mut shim = Shim::spawn(&scene.plan, &dir, &scene.run_file, "");
        shim.go();
        assert_eq!(shim.report(), Some(Report::Failed { step, errno: libc::ENOSPC }));
        assert_eq!(shim.wait(), Some(status::UNPREPARED));
        assert_eq!((names(&path), scene.path("marker").exists()), (vec![], false));
    }
}

#[test]
fn a_start_record_that_finds_no_space_is_reported() {
    let Some((dir, path)) = tmpfs(&[("size", "8k")]) else { return println!("SKIP: we may not mount") };
    // Longer than what a claim sets aside.
    let scene = Scene::sh("echo ran > marker").with(|plan| plan.boot_id = vec![b'b'; 4000]);
    let run_file = claimed(&path, &scene.plan);
    std::fs::write(path.join("ballast"), [1; 4 << 10]).unwrap();
    let mut shim = Shim::spawn(&scene.plan, &dir, &run_file, "");
    shim.go();
    assert_eq!(shim.report(), Some(Report::Failed { step: Step::Started, errno: libc::ENOSPC }));
    assert_eq!(shim.wait(), Some(status::UNPREPARED));
    assert!(RunFile::read(&run_file).unwrap().started().is_none() && !scene.path("marker").exists());
}

#[test]
fn a_claim_that_finds_no_space_is_refused() {
    let Some((_dir, path)) = tmpfs(&[("size", "4k")]) else { return println!("SKIP: we may not mount") };
    std::fs::write(path.join("ballast"), [1; 4 << 10]).unwrap();
    let file = File::create_new(path.join("run-file")).unwrap();
    let error = run_file::claim(&file, b"12 execute-1").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
}

#[test]
fn a_job_that_fills_the_disk_is_recorded() {
    let Some((dir, path)) = tmpfs(&[("size", "64k")]) else { return println!("SKIP: we may not mount") };
    let scene = Scene::sh("yes; exit 11");
    let run_file = claimed(&path, &scene.plan);
    let mut shim = Shim::spawn(&scene.plan, &dir, &run_file, "");
    shim.go();
    assert_eq!((shim.report(), shim.wait()), (Some(Report::Started), Some(status::DONE)));
    let file = RunFile::read(&run_file).unwrap();
    assert_eq!(serde_json::from_slice::<Exit>(file.exit().unwrap()).unwrap().code, Some(11));
}
