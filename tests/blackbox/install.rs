//! The service of systemd: what is written, what is not, and that systemd would take it.

use crate::world::{Said, World};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
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
fn a_unit_is_written_once_and_names_what_comes_next() {
    let world = World::new();
    let path = unit(&world);
    let dry = world.run("daemon install --dry-run").ok();
    assert!(!path.exists(), "a dry run wrote it");
    let said = world.run("daemon install").ok();
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(dry.contains(&text) && dry.starts_with(&format!("would write {}\n", path.display())), "{dry}");
    assert!(said.starts_with(&format!("wrote {}\n", path.display())), "{said}");
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_qrmd")).display().to_string();
    for line in [
        "# Written by `qrm daemon install`, which writes it anew.",
        &format!("ExecStart={built} --foreground"),
        &format!("Environment=QRM_STATE_DIR={}", world.state().display()),
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Delegate=yes",
        "KillMode=process",
        "OOMPolicy=continue",
        "Restart=on-failure",
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
    assert!(world.run("daemon install").ok().contains("is there, and is the same"));
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
    world.run("daemon start").ok();
    let json = world.run("--json daemon install").json();
    assert_eq!((json["written"].as_bool(), json["unit"].as_str()), (Some(false), Some(text.as_str())));
    assert!(json["next"][0].as_str().unwrap().starts_with("qrm daemon stop"), "{json}");
}

#[test]
fn what_someone_else_wrote_stays_unless_it_is_forced() {
    for (there, refused) in [
        (Some("[Service]\nExecStart=/mine\n"), true),
        (Some("# Written by `qrm daemon install`, which writes it anew.\n[Service]\n"), false),
        // A unit that is masked is a link.
        (None, true),
    ] {
        let world = World::new();
        let path = unit(&world);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match there {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::os::unix::fs::symlink("/dev/null", &path).unwrap(),
        }
        let said = world.run("daemon install");
        assert_eq!(said.code, if refused { 2 } else { 0 }, "{said:?}");
        if refused {
            assert!(said.err.contains("was not written by qrm") && said.err.contains("--force"), "{said:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), there.unwrap_or_default());
            world.run("daemon install --force").ok();
        }
        assert!(std::fs::read_to_string(&path).unwrap().contains("KillMode=process"));
        assert!(path.symlink_metadata().unwrap().is_file());
    }
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
