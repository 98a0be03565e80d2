//! What can not be meant: refused with exit code 2, by name, with what would work, and nothing changed.
//! The same on paper and as JSON.

use crate::hands::Screen;
use crate::world::World;
use std::os::unix::ffi::OsStrExt;

/// Command lines, what the message names, and what the hint offers.
const WRONG: &[(&str, &str, &str)] = &[
    ("sumbit -- true", "sumbit", "submit"),
    ("frobnicate", "frobnicate", ""),
    ("daemon strat", "strat", "start"),
    ("daemon", "start", ""),
    ("cleanup", "--keep-last", ""),
    ("submit", "<COMMAND>", ""),
    ("submit --", "<COMMAND>", ""),
    ("run", "<COMMAND>", ""),
    ("submit --cpu 2 -- true", "--cpu", "--cpus"),
    ("submit --prioritty 2 -- true", "--prioritty", "--priority"),
    ("submit --cpus x -- true", "'x'", ""),
    ("submit --cpus -1 -- true", "-1", ""),
    ("submit --cpus 1.5 -- true", "1.5", ""),
    ("submit --cpus 99999999999 -- true", "99999999999", ""),
    ("submit --mem 1X -- true", "'1X' is not a size; write 512M, 10G", ""),
    ("submit --mem 9999999P -- true", "9999999P", ""),
    ("submit --time 1x -- true", "'1x' is not a duration; write 90s, 15m, 2h or 1d12h", ""),
    ("submit --time 40000d -- true", "a duration is at most a hundred years", ""),
    ("submit --time 101w9999999d -- true", "101w9999999d", ""),
    ("submit --begin noon -- true", "'noon' is not a time; write 18:00", ""),
    ("submit --begin 25:00 -- true", "25:00", ""),
    ("submit --priority urgent -- true", "'urgent' is not a priority; write 0 to 100, low", ""),
    ("submit --priority 101 -- true", "101", ""),
    ("submit --array 9-1 -- true", "'9-1' is not an array; write 0-99", ""),
    ("submit --array 0-9:0 -- true", "0-9:0", ""),
    ("submit --array 0-9%0 -- true", "0-9%0", ""),
    ("submit --array 1,2,3 -- true", "1,2,3", ""),
    ("submit --retries x -- true", "'x'", ""),
    ("submit --retries 1001 -- true", "1001", ""),
    ("submit --retry-on 3 -- true", "--retry-on without --retries", "add --retries"),
    ("submit --retries 1 --retry-on 0 -- true", "'0' is not a reason to retry", ""),
    ("submit --retries 1 --retry-on 256 -- true", "256", ""),
    ("submit --retries 1 --retry-on sometimes -- true", "sometimes", ""),
    ("submit --backoff 5s..1s -- true", "'5s..1s' is not a backoff; write 1s..1m", ""),
    ("submit --name= -- true", "the name is empty", ""),
    ("submit --validate= -- true", "the validate command is empty", ""),
    ("submit --after 1.x -- true", "1.x", ""),
    ("submit --bulk nowhere --array 0-1", "cannot be used with", ""),
    ("submit --hold --hold -- true", "--hold", ""),
    ("show", "<ID>", ""),
    ("show 1 2", "'2'", ""),
    ("show abc", "'abc' is not a job id; a job is a number such as 12", ""),
    ("show 0", "'0'", ""),
    ("show 99999999999999999999", "99999999999999999999", ""),
    ("show 77", "there is no job 77", "qrm jobs lists them"),
    ("show 77.1", "there is no job 77.1", ""),
    ("status 77", "there is no job 77", ""),
    ("logs 77", "there is no job 77", ""),
    ("logs -f 77", "there is no job 77", ""),
    ("logs 1 --tail 0", "0", ""),
    ("wait 77", "there is no job 77", ""),
    ("cancel 77", "there is no job 77", ""),
    ("jobs sate=queued", "jobs have no field 'sate'", "did you mean state=queued?"),
    ("jobs stat=live", "'stat'", "state=live"),
    ("jobs state=quued", "'quued' is not a state", "did you mean state=queued?"),
    ("jobs state=unknowable", "'unknowable'", "states are pending"),
    ("jobs state>queued", "'state' can not be compared with >", "it takes = and !="),
    ("jobs name>x", "'name' can not be compared with >", "=, !=, ~ and !~"),
    ("jobs mem~8", "'mem' can not be compared with ~", "<="),
    ("jobs mem>8Q", "'8Q' is not a size", ""),
    ("jobs cpus=two", "'two' is not a whole number", ""),
    ("jobs time>soon", "'soon' is not a duration", ""),
    ("jobs ended>tomorrow", "'tomorrow' is not a time in the past", "-2h"),
    ("jobs =x", "no field ''", ""),
    ("jobs name!x", "'name!x' is not a term", "state=queued"),
    ("jobs queued", "'queued' is neither a job id nor a term", "state=queued"),
    ("jobs 5-3", "'5-3'", ""),
    ("jobs 1.2-3", "'1.2-3'", ""),
    ("jobs name=\"open", "is not closed", ""),
    ("jobs --limit x", "'x'", ""),
    ("jobs --limit 3 --all", "cannot be used with", ""),
    ("events --job x", "'x'", ""),
    ("events --after x", "'x'", ""),
    ("wait 1 --timeout soon", "'soon' is not a duration", ""),
    ("--socket", "--socket", ""),
];

#[test]
fn every_refusal_names_the_thing_and_changes_nothing() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    world.submit("--hold", "true");
    let before = world.run("--json events").ok();
    for (line, thing, hint) in WRONG {
        let said = world.run(line);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{line}: {said:?}");
        assert!(said.err.contains(thing) && said.err.contains(hint), "{line}: {said:?}");
        assert!(!said.err.contains("panicked"), "{line}: {said:?}");
    }
    assert_eq!(world.run("--json events").ok(), before);
}

#[test]
fn with_json_every_refusal_is_a_document_on_standard_output() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    world.submit("--hold", "true");
    for (line, thing, _) in WRONG {
        let said = world.run(&format!("--json {line}"));
        assert_eq!((said.code, said.err.as_str()), (2, ""), "{line}: {said:?}");
        let error = &said.json()["error"];
        assert!(error["code"].is_string() && error.as_object().unwrap().len() == 3, "{line}: {said:?}");
        let text = format!("{} {}", error["message"].as_str().unwrap(), error["hint"].as_str().unwrap_or_default());
        assert!(text.contains(thing), "{line}: {said:?}");
    }
    assert_eq!(world.run("--json show 77").json()["error"]["code"], "NOT_FOUND");
    let said = world.run("--json daemon").json();
    assert_eq!(said["error"]["message"], "what to do is missing: start, stop, status, reload, install");
    assert_eq!(world.run("--json submit --cpus 3 -- true").json()["error"]["code"], "INVALID_ARGUMENT");
}

#[test]
fn a_word_that_can_not_be_meant_is_shown_and_not_obeyed() {
    let world = World::new();
    for words in [&["show", "1\u{1b}[2J"][..], &["sub\u{1b}[2Jmit"], &["jobs", "--\u{1b}[2J"], &["daemon", "\u{9b}2J"]]
    {
        let word = words[words.len() - 1].replace(['\u{1b}', '\u{9b}'], "·");
        let said = world.qrm(words);
        assert!(said.code == 2 && said.err.contains(&word), "{word}: {said:?}");
        let json = world.qrm(words.iter().chain(&["--json"]));
        assert!(json.json()["error"]["message"].as_str().unwrap().contains(&word), "{word}: {json:?}");
        let mut command = world.program("qrm");
        command.args(words);
        let mut screen = Screen::new(command, 80);
        screen.until(&word);
    }
}

#[test]
fn a_json_that_is_the_commands_own_is_not_ours() {
    let world = World::new();
    let said = world.run("submit --nonsense -- tool --json");
    assert!(said.code == 2 && said.out.is_empty() && said.err.contains("--nonsense"), "{said:?}");
    let id = world.submit("--name=--json", "true");
    assert_eq!(world.show(&id)["name"], "--json");
}

#[test]
fn help_and_version_are_no_mistakes() {
    let world = World::new();
    for line in ["--help", "help", "submit --help", "help wait", "--version", "jobs -h", "daemon --help"] {
        let said = world.run(line);
        assert_eq!((said.code, said.err.as_str()), (0, ""), "{line}: {said:?}");
        assert!(!said.out.is_empty());
    }
    assert!(world.run("--help").out.starts_with("Queue, run and account for work on one shared machine.\n"));
    let said = world.qrm([] as [&str; 0]);
    assert!(said.code == 2 && said.err.contains("Usage: qrm"), "{said:?}");
    // Nothing of this started a daemon.
    assert_eq!(world.run("daemon status").code, 3);
}

#[test]
fn what_is_too_long_is_refused_by_its_bound() {
    let world = World::new();
    let long = "x".repeat(257);
    for option in ["--name", "--comment", "--key"] {
        let said = world.qrm(["submit", option, &long, "--", "true"]);
        assert!(said.code == 2 && said.err.contains("is 257 long; the bound is 256"), "{said:?}");
    }
    let words = vec!["y".repeat(1_000); 140];
    let said = world.qrm(["submit", "--", "true"].into_iter().chain(words.iter().map(String::as_str)));
    assert!(said.code == 2 && said.err.contains("the bound is 131072"), "{said:?}");
    let words = vec!["y".repeat(1_000); 130];
    let most = world.qrm(["run", "--", "sh", "-c", "echo $#"].into_iter().chain(words.iter().map(String::as_str)));
    assert_eq!(most.ok(), "129\n");
    let many = vec!["7"; 1_001].join(",");
    let said = world.qrm(["submit", "--after", &many, "--", "true"]);
    assert!(said.code == 2 && said.err.contains("the bound is 1000"), "{said:?}");
    let said = world.qrm(["jobs", &vec!["1"; 1_001].join(",")]);
    assert!(said.code == 2 && said.err.contains("at most 1000"), "{said:?}");
    let said = world.qrm(["jobs", &format!("name={}", "z".repeat(5_000))]);
    assert!(said.code == 2 && said.err.contains("4096"), "{said:?}");
    // An environment of control characters takes six times its length in a frame.
    let mut submit = world.program("qrm");
    submit.args(["submit", "--", "true"]);
    for name in 0..10 {
        submit.env(format!("V{name}"), "\u{1}".repeat(100_000));
    }
    let output = submit.output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("4194304"), "{output:?}");
    assert_eq!(world.run("--json jobs").json().as_array().unwrap().len(), 1);
}

#[test]
fn bytes_that_are_no_text_are_refused_where_text_is_wanted() {
    let world = World::new();
    let odd = std::ffi::OsStr::from_bytes(b"\xff\xfe");
    for verb in ["show", "jobs", "cancel", "wait"] {
        let output = world.program("qrm").arg(verb).arg(odd).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{verb}: {output:?}");
    }
    let output = world.program("qrm").args(["submit", "--name"]).arg(odd).args(["--", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let mut submit = world.program("qrm");
    submit.args(["submit", "--hold", "--chdir"]).arg(std::ffi::OsStr::from_bytes(b"d\xff")).args(["--", "true"]);
    std::fs::create_dir(world.dir().join(std::ffi::OsStr::from_bytes(b"d\xff"))).unwrap();
    assert_eq!(submit.output().unwrap().stdout, b"1\n");
    assert!(world.show("1")["cwd"]["hex"].is_string());
    assert_eq!(world.run("show 1").code, 0);
}
