//! Scratch directories: a job has one if it asks for room, is held to its size, and nothing of it stays.

use crate::hands::Gate;
use crate::system::{ALICE, System, possible};
use crate::world::World;
use rustix::fs::inotify;
use serde_json::json;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Tells when something goes from a directory.
pub struct Goings(OwnedFd);

impl Goings {
    pub fn of(dir: &Path) -> Self {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC).unwrap();
        inotify::add_watch(&fd, dir, inotify::WatchFlags::DELETE | inotify::WatchFlags::MOVED_FROM).unwrap();
        Self(fd)
    }

    /// Returns when this is not there.
    pub fn gone(&self, path: &Path) {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        while path.exists() {
            inotify::Reader::new(&self.0, &mut buffer).next().unwrap();
        }
    }
}

fn scratch(world: &World) -> PathBuf {
    world.state().join("scratch")
}

#[test]
fn a_job_that_asks_for_room_has_a_directory_of_its_own_until_it_is_over() {
    let world = World::with(&[("TMPDIR", "/nowhere")]);
    let (gate, here) = (Gate::new(&world, "gate"), Gate::new(&world, "here"));
    let fill = "mkdir -p $TMPDIR/a/b; ln -s $HOME $TMPDIR/a/home; echo x >$TMPDIR/a/b/file; chmod 0 $TMPDIR/a/b";
    let script = format!("echo $QRM_SCRATCH_DIR $TMPDIR; {fill}; {}; {}", here.tell(), gate.wait());
    let id = world.submit("--disk 1M", &script);
    here.heard();
    let dir = scratch(&world).join(format!("{id}-1"));
    assert_eq!(std::fs::metadata(&dir).unwrap().permissions().mode() & 0o7777, 0o700);
    let job = world.show(&id);
    assert_eq!((&job["disk_bytes"], &job["enforcement"]["disk"]), (&json!(1 << 20), &json!("watched")));
    assert!(world.run(&format!("show {id}")).ok().contains("1M (watched)"));
    assert!(world.run("status").ok().contains("scratch 1M of "));
    // What nobody knows goes when a daemon starts, and what belongs to a job that runs does not.
    let old = scratch(&world).join("999-1");
    std::fs::create_dir_all(old.join("some/thing")).unwrap();
    let goings = Goings::of(&scratch(&world));
    world.kill_daemon();
    world.run("daemon start").ok();
    goings.gone(&old);
    assert!(dir.join("a/b").exists());
    gate.open(1);
    assert_eq!(world.ended(&id)["state"], "completed");
    goings.gone(&dir);
    assert!(world.dir().exists());
    let said = world.run(&format!("logs {id}")).ok();
    assert_eq!(said.trim(), format!("{0} {0}", dir.display()));
    // Who does not ask has none.
    let plain = world.submit("", "echo ${QRM_SCRATCH_DIR-none} $TMPDIR");
    world.ended(&plain);
    assert_eq!(world.run(&format!("logs {plain}")).ok(), "none /nowhere\n");
    assert!(world.run("submit --env QRM_SCRATCH_DIR=/x true").err.contains("can not be set"));
}

#[test]
fn a_job_that_fills_more_than_it_asked_for_is_ended_and_says_so() {
    let world = World::new();
    let id = world.submit("--disk 2M", "head -c 3M /dev/zero >$TMPDIR/large; exec sleep 1000");
    let deep =
        world.submit("--disk 2M", "cd $TMPDIR; while mkdir d && cd -P d; do :; done 2>/dev/null; exec sleep 1000");
    let job = world.ended(&id);
    assert_eq!(
        (job["failure"]["kind"].as_str(), job["failure"]["cause"].as_str()),
        (Some("ExecuteError"), Some("limit"))
    );
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("its scratch directory held 3M, and its limit of 2M ended it"), "{message}");
    // Where nobody can look, nobody can be held to anything.
    let job = world.ended(&deep);
    assert!(job["failure"]["message"].as_str().unwrap().contains("its scratch directory"), "{job}");
}

#[test]
fn room_is_granted_once_and_who_asks_for_more_waits_or_is_told() {
    let world = World::with(&[("QRM_HOST_DISK", "10G"), ("QRM_HOST_CPUS", "4")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--disk 8G", &gate.wait());
    world.executing(&first);
    let second = world.submit("--disk 4G", "true");
    assert_eq!(world.show(&second)["waiting_reason"], "needs 4G of disk, 2G free");
    let said = world.run("submit --disk 11G true");
    assert!(said.code == 2 && said.err.contains("11G of disk are asked for, and this machine offers 10G"), "{said:?}");
    assert!(world.run(&format!("update {second} --disk 11G")).err.contains("this machine offers 10G"));
    world.run(&format!("update {second} --disk 2G")).ok();
    assert_eq!(world.ended(&second)["disk_bytes"], 2u64 << 30);
    let again = world.run(&format!("retry {second}")).ok();
    assert_eq!(world.ended(again.trim())["disk_bytes"], 2u64 << 30);
    gate.open(1);
    world.ended(&first);
}

#[test]
fn directories_are_where_the_configuration_says_and_a_foreign_one_is_refused() {
    let mut world = World::new();
    let dir = world.dir().join("disk");
    std::fs::create_dir(&dir).unwrap();
    world.set("QRM_SCRATCH_DIRECTORY", dir.to_str().unwrap());
    let id = world.submit("--disk 1M", "echo $TMPDIR");
    world.ended(&id);
    let said = world.run(&format!("logs {id}")).ok();
    assert!(said.starts_with(&format!("{}/qrm-", dir.display())), "{said}");
    let base = Path::new(said.trim()).parent().unwrap();
    std::fs::set_permissions(base, PermissionsExt::from_mode(0o777)).unwrap();
    let job = world.ended(&world.submit("--disk 1M", "true"));
    let message = job["failure"]["message"].as_str().unwrap();
    assert!(message.contains("others can write to it"), "{message}");
}

#[test]
fn the_directory_of_a_user_s_job_is_the_user_s_alone() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let script = "exec \"$QRM\" run --disk 1M -- sh -c 'echo $TMPDIR; stat -c %u:%g:%a $TMPDIR; echo x >$TMPDIR/file && cat $TMPDIR/file; ls $TMPDIR/.. || echo closed'";
    let output = system.shell(ALICE, script).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[1..], ["61001:61001:700", "x", "closed"], "{said}");
    let dir = Path::new(lines[0]);
    if dir.parent().is_some_and(Path::exists) {
        Goings::of(dir.parent().unwrap()).gone(dir);
    }
}
