//! The service of systemd: what is written, what is not, and that systemd would take it.

use crate::world::{Said, World};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn unit(world: &World) -> PathBuf {
    world.dir().join("config/systemd/user/qrmd.service")
}

/// What systemd says of a unit, if its program is here.
fn verified(path: &std::path::Path) {
    let mut command = Command::new("systemd-analyze");
    // Pages of the manual are where a package puts them.
    command.args(["verify", "--user", "--man=no"]).arg(path).env("XDG_RUNTIME_DIR", path.parent().unwrap());
    match command.output() {
        Err(error) => eprintln!("skipped: systemd-analyze: {error}"),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let own: Vec<&str> = said.lines().filter(|line| line.contains("qrmd")).collect();
            assert!(own.is_empty() && output.status.success(), "{said}");
        }
    }
}

#[test]
fn units_are_written_once_and_name_what_comes_next() {
    let world = World::new();
    let path = unit(&world);
    let dry = world.run("daemon install --dry-run").ok();
    assert!(!path.exists(), "a dry run wrote it");
    let said = world.run("daemon install").ok();
    let text = std::fs::read_to_string(&path).unwrap();
    let jobs = std::fs::read_to_string(path.with_file_name("qrm-jobs.service")).unwrap();
    for (path, text) in [(path.clone(), &text), (path.with_file_name("qrm-jobs.service"), &jobs)] {
        assert!(dry.contains(&format!("would write {}:\n\n{text}\n", path.display())), "{dry}");
        assert!(said.contains(&format!("wrote {}\n", path.display())), "{said}");
    }
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_qrmd")).display().to_string();
    for line in [
        &format!("ExecStart={built} --foreground"),
        &format!("Environment=QRM_STATE_DIR={}", world.state().display()),
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Type=notify",
        "Delegate=yes",
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=on-failure",
        "Requires=qrm-jobs.service",
        "WantedBy=default.target",
    ] {
        assert!(text.lines().any(|one| one == line), "{line}: {text}");
    }
    for next in ["systemctl --user daemon-reload", "systemctl --user enable --now qrmd", "loginctl enable-linger"] {
        assert!(said.contains(next), "{said}");
    }
    assert!(!said.contains("daemon stop") && !world.socket().exists(), "no daemon ran, and none was started: {said}");
    verified(&path);
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(world.run("daemon install").ok().matches("is there, and is the same").count(), 2);
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
    world.run("daemon start").ok();
    let json = world.run("--json daemon install --user").json();
    assert_eq!((json["mode"].as_str(), json["units"][0]["unit"].as_str()), (Some("user"), Some(text.as_str())));
    assert_eq!((&json["units"][0]["written"], &json["refused"]), (&false.into(), &serde_json::Value::Null));
    assert!(json["next"][0].as_str().unwrap().starts_with("qrm daemon stop"), "{json}");
}

#[test]
fn what_someone_wrote_or_changed_stays_unless_it_is_forced() {
    type Change = fn(&Path);
    let foreign: Change = |path| std::fs::write(path, "[Service]\nExecStart=/mine\n").unwrap();
    let edited: Change = |path| {
        let text = std::fs::read_to_string(path).unwrap();
        std::fs::write(path, text.replace("RestartSec=1\n", "RestartSec=1h\n")).unwrap();
    };
    // A unit that is masked is a link.
    let masked: Change = |path| {
        std::fs::remove_file(path).unwrap();
        std::os::unix::fs::symlink("/dev/null", path).unwrap();
    };
    for (change, shown) in
        [(foreign, "-ExecStart=/mine\n"), (edited, "-RestartSec=1h\n  +RestartSec=1\n"), (masked, "")]
    {
        let world = World::new();
        let path = unit(&world);
        world.run("daemon install").ok();
        let jobs = path.with_file_name("qrm-jobs.service");
        std::fs::remove_file(&jobs).unwrap();
        change(&path);
        let there = std::fs::read_to_string(&path).unwrap();
        let said = world.run("daemon install");
        assert!(said.code == 2 && said.err.contains("changed since") && said.err.contains("--force"), "{said:?}");
        let dry = world.run("daemon install --dry-run").ok();
        assert!(dry.contains(shown) && dry.contains("nothing would be written: "), "{dry}");
        assert_eq!((std::fs::read_to_string(&path).unwrap(), jobs.exists()), (there, false), "half of it is written");
        assert!(world.run("daemon install --force").ok().contains(&format!("replaced {}", path.display())));
        assert!(std::fs::read_to_string(&path).unwrap().contains("KillMode=process") && jobs.exists());
        assert!(path.symlink_metadata().unwrap().is_file());
    }
}

#[test]
fn what_an_earlier_release_wrote_is_replaced() {
    let mut world = World::new();
    world.run("daemon install").ok();
    // Another text of ours, as another release has it.
    world.set("QRM_CONFIG", "/elsewhere.toml");
    let said = world.run("--json daemon install").json();
    assert_eq!((&said["units"][0]["written"], &said["units"][1]["written"]), (&true.into(), &false.into()));
    assert!(std::fs::read_to_string(unit(&world)).unwrap().contains("Environment=QRM_CONFIG=/elsewhere.toml\n"));
}

#[test]
fn the_system_s_daemon_is_one_that_root_alone_can_change() {
    let world = World::new();
    let dir = world.installed("bin", &["qrm", "qrmd", "qrm-shim"]);
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o777)).unwrap();
    let install = |args: &[&str]| {
        let mut command = world.at(&dir.join("qrm"));
        Said::of(command.args(["daemon", "install", "--system"]).args(args).output().unwrap())
    };
    let dry = install(&["--dry-run"]).ok();
    for line in [
        "would write /etc/systemd/system/qrmd.socket:",
        "ListenStream=/run/qrm/qrm.sock",
        "SocketMode=0666",
        &format!("ExecStart={} --system --foreground", dir.canonicalize().unwrap().join("qrmd").display()),
        "StateDirectoryMode=0711",
        "KillMode=process",
        "  systemctl enable --now qrmd.socket qrmd.service    # the socket alone waits for who asks first",
    ] {
        assert!(dry.lines().any(|one| one == line), "{line}: {dry}");
    }
    assert!(dry.contains("nothing would be written: ") && dry.contains(" can change "), "{dry}");
    let said = install(&[]);
    let why = if rustix::process::geteuid().is_root() { "would run what is there as root" } else { "only root writes" };
    assert!(said.code == 2 && said.err.contains(why), "{said:?}");
    assert!(install(&["--user"]).err.contains("cannot be used with"));
}

#[test]
fn a_program_is_named_whatever_its_path_is_and_one_that_is_missing_is_said() {
    let world = World::new();
    let dir = world.installed("a $b %h; c", &["qrm", "qrmd", "qrm-shim"]);
    let install = || Said::of(world.at(&dir.join("qrm")).args(["daemon", "install"]).output().unwrap());
    install().ok();
    let text = std::fs::read_to_string(unit(&world)).unwrap();
    let path = world.dir().canonicalize().unwrap().display().to_string();
    assert!(text.contains(&format!("ExecStart=\"{path}/a $b %%h; c/qrmd\" --foreground\n")), "{text}");
    verified(&unit(&world));
    for name in ["qrm-shim", "qrmd"] {
        std::fs::remove_file(dir.join(name)).unwrap();
        let said = install();
        assert!(said.code == 2 && said.err.contains(&format!("{name} does not stand beside qrm")), "{said:?}");
    }
    let odd = world.installed("a\"b", &["qrm", "qrmd", "qrm-shim"]);
    let said = Said::of(world.at(&odd.join("qrm")).args(["daemon", "install"]).output().unwrap());
    assert!(said.code == 2 && said.err.contains("systemd starts no program"), "{said:?}");
}

#[test]
fn a_systemd_that_runs_reads_the_unit() {
    let mut world = World::new();
    let bin = world.installed("bin", &[]);
    let told = world.dir().join("told");
    std::fs::write(bin.join("systemctl"), format!("#!/bin/sh\necho \"$@\" >>{}\n", told.display())).unwrap();
    std::fs::set_permissions(bin.join("systemctl"), std::fs::Permissions::from_mode(0o755)).unwrap();
    world.set("PATH", &format!("{}:/usr/bin:/bin", bin.display()));
    world.set("XDG_RUNTIME_DIR", &world.dir().display().to_string());
    world.run("daemon install").ok();
    assert!(!told.exists(), "no systemd of this user runs");
    std::fs::create_dir(world.dir().join("systemd")).unwrap();
    std::fs::write(world.dir().join("systemd/private"), "").unwrap();
    world.run("daemon install --dry-run").ok();
    assert!(!told.exists(), "a dry run does nothing");
    let said = world.run("daemon install").ok();
    assert_eq!(std::fs::read_to_string(told).unwrap(), "--user daemon-reload\n");
    assert!(!said.contains("daemon-reload"), "{said}");
}
