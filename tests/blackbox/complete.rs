//! What shells complete: through the very scripts that `qrm completions` prints, in the shells that are installed.
//! What is looked at is what would stand in the line.

use crate::hands::Gate;
use crate::world::World;
use std::process::{Command, Stdio};

/// A shell's own environment, with `qrm` in its path.
fn shell(world: &World, program: &str) -> Command {
    let qrm = world.program("qrm");
    let mut command = world.at(program.as_ref());
    let mut path = std::path::Path::new(qrm.get_program()).parent().unwrap().as_os_str().to_owned();
    path.push(":/usr/bin:/bin");
    command.env("PATH", path);
    command
}

/// What bash makes of a line: it is split as bash splits it.
fn bash(world: &World, line: &str) -> Vec<String> {
    let script = r#"source <(qrm completions bash)
        line=$1; word=${line##*[ =]}
        [[ $line == *= ]] && word='='
        read -ra COMP_WORDS <<<"${line//=/ = }"
        [[ $line == *' ' ]] && COMP_WORDS+=('') word=''
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        compopt() { :; }
        current=$word; [[ $word == '=' ]] && current=''
        _qrm qrm "$current" ''
        printf '%s\n' "${COMPREPLY[@]}""#;
    let output = shell(world, "bash").args(["-c", script, "bash", line]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

/// The daemon has little time, and a busy machine may take it: then nothing is offered, and a finger presses again.
fn eventually(world: &World, line: &str) -> Vec<String> {
    let mut tries = std::iter::repeat_with(|| bash(world, line)).take(100);
    let has_ids = |found: &Vec<String>| found.iter().any(|word| word.as_bytes()[0].is_ascii_digit());
    tries.find(has_ids).unwrap_or_else(|| panic!("nothing for {line}"))
}

#[test]
fn each_verb_offers_the_jobs_that_it_could_be_about() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let ended = world.submit("", "echo done");
    world.ended(&ended);
    let runs = world.submit("--name runs", &gate.wait());
    let stands = world.submit("--name stands", &gate.wait());
    world.executing(&runs);
    world.executing(&stands);
    world.run(&format!("suspend {stands}")).ok();
    world.submit("--name waits", "true");
    world.submit("--hold --name held", "true");
    for (line, ids) in [
        ("qrm cancel ", &["5", "4", "3", "2"][..]),
        ("qrm wait ", &["5", "4", "3", "2"]),
        ("qrm submit --after ", &["5", "4", "3", "2"]),
        ("qrm submit --after-ok 1,", &["1,5", "1,4", "1,3", "1,2"]),
        ("qrm submit --after=", &["5", "4", "3", "2"]),
        ("qrm hold ", &["4"]),
        ("qrm explain ", &["5", "4", "3", "2"]),
        ("qrm update ", &["5", "4", "3", "2"]),
        ("qrm retry ", &["1"]),
        ("qrm release ", &["5"]),
        ("qrm suspend ", &["2"]),
        ("qrm resume ", &["3"]),
        ("qrm signal USR1 ", &["2"]),
        ("qrm attach ", &["2"]),
        ("qrm exec ", &["2"]),
        ("qrm logs ", &["3", "2", "1"]),
        ("qrm show ", &["5", "4", "3", "2", "1"]),
        ("qrm stats ", &["2", "5", "4", "3", "1"]),
        ("qrm status ", &["5", "4", "3", "2", "1"]),
        ("qrm events --job ", &["5", "4", "3", "2", "1"]),
        ("qrm cancel 2 3", &["3"]),
    ] {
        assert_eq!(eventually(&world, line), ids, "{line}");
    }
    gate.open(2);
}

#[test]
fn ids_are_found_by_their_first_digits_also_among_many() {
    let world = World::new();
    let lines = "{\"command\":[\"true\"],\"hold\":true}\n".repeat(1_234);
    std::fs::write(world.dir().join("bulk"), lines).unwrap();
    world.run("submit --bulk bulk").ok();
    let offered = eventually(&world, "qrm cancel 12");
    assert_eq!(offered[..3], ["1234", "1233", "1232"]);
    assert!(offered.contains(&"12".to_owned()) && offered.iter().all(|id| id.starts_with("12")), "{offered:?}");
    // More than are offered: a shell writes what all of them begin with, so they begin with no more than was typed.
    for typed in ["", "1"] {
        let offered = eventually(&world, &format!("qrm cancel {typed}"));
        let next = |digit: &str| offered.iter().any(|id| id.starts_with(&format!("{typed}{digit}")));
        assert!(offered.len() < 100 && (1..=9).all(|digit| next(&digit.to_string())), "{typed}: {offered:?}");
    }
}

#[test]
fn tasks_terms_and_words_are_completed() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    world.submit("--array 8-10 --name sweep", "true");
    world.ended("1");
    let id = world.submit("--name $(touch${IFS}bad)", &gate.wait());
    world.run("queue set night").ok();
    world.executing(&id);
    assert_eq!(eventually(&world, "qrm logs 1.")[..], ["1.10", "1.9", "1.8"]);
    assert_eq!(eventually(&world, "qrm show 1.1")[..], ["1.10"]);
    for (line, words) in [
        ("qrm susp", &["suspend"][..]),
        ("qrm daemon sto", &["stop"]),
        ("qrm submit --prio", &["--priority"]),
        ("qrm jobs st", &["state=", "started="]),
        ("qrm jobs state=e", &["executing", "ended"]),
        ("qrm cancel state=queued,ex", &["queued,executing"]),
        ("qrm jobs failure.cause=o", &["oom"]),
        ("qrm jobs cause=de", &["dependency"]),
        ("qrm signal US", &["USR1", "USR2"]),
        ("qrm submit --signal SE", &["SEGV"]),
        ("qrm submit --retry-on oom,l", &["oom,lost"]),
        ("qrm completions ", &["bash", "zsh", "fish"]),
        ("qrm man pro", &["progress", "protocol"]),
        ("qrm man sch", &["scheduling"]),
        ("qrm submit --queue ni", &["night"]),
        ("qrm update 1 --queue de", &["default"]),
        ("qrm queue pause ", &["default", "night"]),
        ("qrm queue re", &["remove", "resume"]),
        ("qrm submit --on-conflict p", &["preemption", "priority"]),
        ("qrm queue set night --on-preempt s", &["suspend"]),
        ("qrm man qrm-c", &["qrm-config"]),
        ("qrm man daemon st", &["start", "stop", "status"]),
        ("qrm submit --bulk sta", &["state/"]),
        ("qrm submit -- cat sta", &["state/"]),
        ("qrm submit cat sta", &["state/"]),
        ("qrm run -- bas", &["base32", "base64", "basename", "basenc", "bash", "bashbug"]),
        ("qrm jobs nonsense=", &[]),
        ("qrm cancel nonsense", &[]),
    ] {
        let found = bash(&world, line);
        // Which programs there are differs.
        let fits = |found: &[String]| found.iter().all(|word| words.contains(&word.as_str()) || line.ends_with("bas"));
        assert!(fits(&found) && (found.len() == words.len() || line.ends_with("bas")), "{line}: {found:?}");
    }
    assert!(bash(&world, "qrm run -- bas").contains(&"bash".to_owned()));
    // Names are somebody else's text: what a shell would read is not offered.
    let mut tries = std::iter::repeat_with(|| bash(&world, "qrm jobs name=")).take(100);
    assert_eq!(tries.find(|names| !names.is_empty()).expect("names"), ["sweep"]);
    gate.open(1);
}

#[test]
fn nobody_is_kept_waiting_and_no_daemon_is_started() {
    let world = World::new();
    assert_eq!(bash(&world, "qrm release "), bash(&world, "qrm hold "));
    assert!(!world.socket().exists() && !world.state().exists());
    // One that never answers, and one that has no place for another client.
    let mute = world.dir().join("mute.sock");
    let listener = std::os::unix::net::UnixListener::bind(&mute).unwrap();
    let began = std::time::Instant::now();
    for _ in 0..3 {
        let found = bash(&world, "qrm --socket mute.sock show ");
        assert!(found.iter().all(|word| word.starts_with("--")), "{found:?}");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
    drop(listener);
    assert!(bash(&world, "qrm --socket mute.sock show ").iter().all(|word| word.starts_with("--")));
    // A variable of that name may mean something else to somebody else.
    let mut command = world.program("qrm");
    assert!(command.env("COMPLETE", "1").arg("--version").output().unwrap().stdout.starts_with(b"qrm "));
}

#[test]
fn zsh_and_fish_complete_as_bash_does() {
    let world = World::new();
    world.submit("--hold --name first", "true");
    let scripts = [
        // zsh's own function is asked for what it would show.
        (
            "zsh",
            "compdef() { :; }; source <(qrm completions zsh); _describe() { print -l -- ${(P)${@[-1]}}; }
             words=(qrm release ''); CURRENT=3; _clap_dynamic_completer_qrm",
            "1:first (queued)",
        ),
        ("fish", "qrm completions fish | source; complete -C 'qrm release '", "1\tfirst (queued)"),
    ];
    for (name, script, offered) in scripts {
        let installed = Command::new(name).args(["-c", "true"]).stdin(Stdio::null()).output().is_ok();
        if !installed {
            eprintln!("{name} is not installed: not looked at");
            continue;
        }
        let ask = || String::from_utf8(shell(&world, name).args(["-c", script]).output().unwrap().stdout).unwrap();
        let mut tries = std::iter::repeat_with(ask).take(100);
        let found = tries.find(|text| text.contains("first")).unwrap_or_else(|| panic!("{name}: nothing"));
        assert!(found.lines().any(|line| line == offered), "{name}: {found}");
    }
}
