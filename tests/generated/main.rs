//! The files that are made of the code and kept in the repository: the manual, the completions, the description of the
//! protocol. A test that finds one of them old fails; with `QRM_BLESS=1` it writes all of them anew first.

// A test's failure is its report.
#![allow(clippy::unwrap_used)]

#[path = "../blackbox/hands.rs"]
#[allow(dead_code)]
mod hands;
mod pages;
mod protocol;
mod roff;
#[path = "../blackbox/schema.rs"]
#[allow(dead_code)]
mod schema;
#[path = "../blackbox/world.rs"]
#[allow(dead_code)]
mod world;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

type Files = BTreeMap<String, String>;

/// Whether what is made is written, and not only compared.
fn blessing() -> bool {
    std::env::var_os("QRM_BLESS").is_some_and(|v| v == "1")
}

fn qrm(args: &[&str]) -> String {
    // No daemon, no home, no terminal.
    let output = Command::new(env!("CARGO_BIN_EXE_qrm")).args(args).env_clear().output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn files(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap()))
        .collect()
}

#[track_caller]
fn kept(dir: &str, made: &Files) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    if blessing() {
        std::fs::remove_dir_all(&dir).ok();
        std::fs::create_dir(&dir).unwrap();
        made.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).unwrap());
    }
    let found = files(&dir);
    let names = |files: &Files| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(made), "QRM_BLESS=1 makes them anew");
    for (name, text) in made {
        assert!(found[name] == *text, "{name} is not what the code is; QRM_BLESS=1 makes it anew");
    }
}

#[test]
fn the_manual_is_what_the_code_is() {
    let temp = tempfile::tempdir().unwrap();
    qrm(&["man", "--dir", temp.path().to_str().unwrap()]);
    let verbs = files(&temp.path().join("man1"));
    assert!(["qrm.1", "qrm-submit.1", "qrm-daemon-stop.1"].iter().all(|name| verbs.contains_key(*name)));
    let others = pages::made();
    let mut made = verbs.clone();
    made.extend(others.clone());
    for (name, text) in &made {
        assert!(!text.contains("///"), "{name} shows a comment's own marks");
    }
    kept("man", &made);
    for (verb, name) in [("submit", "qrm-submit.1"), ("daemon stop", "qrm-daemon-stop.1"), ("", "qrm.1")] {
        let args: Vec<&str> = std::iter::once("man").chain(verb.split_whitespace()).collect();
        assert_eq!(qrm(&args), made[name]);
    }
    // Those that are about no verb are built into qrm: after a change it has the ones before, until it is built again.
    for (name, text) in others {
        let (stem, section) = name.rsplit_once('.').unwrap();
        let file = temp.path().join(format!("man{section}")).join(&name);
        let told = [vec!["man", stem], vec!["man", section, stem.trim_start_matches("qrm-")]].map(|args| qrm(&args));
        let built_in = std::fs::read_to_string(file).unwrap();
        assert_eq!(told[1], built_in, "{name}");
        assert_eq!(told[0], built_in, "{name}");
        assert!(blessing() || built_in == text, "{name}");
    }
}

#[test]
fn completions_are_what_the_command_line_is() {
    let made = [("bash", "qrm.bash"), ("zsh", "_qrm"), ("fish", "qrm.fish")];
    let made = made.map(|(shell, name)| (name.to_owned(), qrm(&["completions", shell])));
    assert!(made[1].1.starts_with("#compdef qrm\n"));
    assert!(made.iter().all(|(name, text)| text.contains("COMPLETE=") || name == "_qrm"));
    kept("completions", &made.into());
}
