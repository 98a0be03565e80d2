//! The clients in cli/examples, as someone who copied them would run them.
//! It refuses to run without what they need, and says so by name.

use crate::world::World;
use std::path::{Path, PathBuf};
use std::process::Output;

/// A program, with qrm on its path, in a world.
fn program(world: &World, name: &str, args: &[&str]) -> Output {
    let qrm = world.program("qrm");
    let beside = Path::new(qrm.get_program()).parent().unwrap().to_str().unwrap();
    let path = format!("{beside}:{}", std::env::var("PATH").unwrap());
    world.at(name.as_ref()).args(args).env("PATH", path).output().unwrap()
}

fn has(name: &str) -> bool {
    let is_there = std::env::var("PATH").unwrap().split(':').any(|dir| Path::new(dir).join(name).exists());
    if !is_there {
        eprintln!("needs {name}");
    }
    is_there
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cli/examples/clients").join(name)
}

/// Exit code, standard output and standard error.
fn parts(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_client_in_python_runs_a_command_as_if_it_ran_here() {
    if !has("python3") {
        return;
    }
    let world = World::new();
    let client = example("qrm_client.py");
    let run = |args: &[&str]| parts(&program(&world, "python3", &[&[client.to_str().unwrap()], args].concat()));
    // The first one finds no daemon.
    let (code, out, err) = run(&["sh", "-c", "echo hello; echo oops >&2; exit 3"]);
    assert_eq!((code, out.as_str()), (3, "hello\n"), "{err}");
    assert!(err.starts_with("oops\n") && err.contains("job.submitted") && err.contains("job.ended"), "{err}");
    assert_eq!(run(&["sh", "-c", "kill -9 $$"]).0, 137);
    // What an environment holds need not be text.
    let (code, out, err) = parts(&program(
        &world,
        "sh",
        &["-c", r#"X=$(printf '\377') exec python3 "$0" sh -c 'printf %s "$X"'"#, client.to_str().unwrap()],
    ));
    assert_eq!((code, out.as_str()), (0, "\u{fffd}"), "{err}");
    let (code, _, err) = run(&[]);
    assert!(code == 2 && err.contains("a job needs a command") && err.contains("(INVALID_ARGUMENT)"), "{err}");
}

#[test]
fn the_client_in_python_is_a_library() {
    const SCRIPT: &str = r#"
import sys
from qrm_client import Qrm, QrmError
with Qrm() as qrm:
    first = qrm.submit(["printf", r"a\000\377\n"], key="one", mem="64M")
    assert first == qrm.submit(["printf", r"a\000\377\n"], key="one", mem="64M"), "the same key is the same job"
    second = qrm.submit(["sh", "-c", "echo $WHERE"], after_ok=[first], env={"WHERE": "here"}, name="later")
    assert b"".join(qrm.log(second)) == b"here\n"
    assert b"".join(qrm.log(first, follow=False)) == b"a\0\xff\n"
    assert [job["state"] for job in qrm.wait(first, second)] == ["completed", "completed"]
    kinds = [event["kind"] for event in qrm.events(job=second)]
    assert kinds[0] == "job.submitted" and kinds[-1] == "job.ended", kinds
    assert qrm.wait(qrm.submit(["true"], hold=True), timeout_ms=1)[0]["state"] == "queued"
    for call in (lambda: qrm.call("job.show", id="77"), lambda: list(qrm.log("77")), lambda: qrm.call("job.shwo")):
        try:
            call()
        except QrmError as error:
            print(error.code, error.hint)
"#;
    if !has("python3") {
        return;
    }
    let world = World::new();
    std::fs::copy(example("qrm_client.py"), world.dir().join("qrm_client.py")).unwrap();
    let (code, out, err) = parts(&program(&world, "python3", &["-c", SCRIPT]));
    assert_eq!(code, 0, "{err}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(
        lines,
        ["NOT_FOUND qrm jobs lists them", "NOT_FOUND qrm jobs lists them", "METHOD_NOT_FOUND did you mean job.show?"]
    );
}

#[test]
fn the_client_in_shell_needs_no_more_than_a_shell() {
    let world = World::new();
    let client = example("client.sh");
    let run = |args: &[&str]| parts(&program(&world, "sh", &[&[client.to_str().unwrap()], args].concat()));
    let (code, out, err) = run(&["sh", "-c", "echo hello; exit 3"]);
    assert_eq!((code, out.as_str()), (3, "hello\n"), "{err}");
    assert!(err.contains("job 1 is failed"), "{err}");
    let (code, _, err) = run(&[]);
    assert!(code == 2 && err.contains("<COMMAND>"), "{err}");
}

#[test]
fn the_client_in_shell_hears_events_on_the_socket() {
    if !has("socat") && !has("nc") {
        return;
    }
    let world = World::new();
    let client = example("client.sh");
    let (code, _, err) = parts(&program(&world, "sh", &[client.to_str().unwrap(), "true"]));
    let events: Vec<&str> = err.lines().filter(|line| line.starts_with("event ")).collect();
    assert_eq!(code, 0, "{err}");
    assert!(events.first() == Some(&"event job.submitted") && events.last() == Some(&"event job.ended"), "{err}");
}
