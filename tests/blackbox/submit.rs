//! What a submitted job inherits, and what its options do to it.
//! Everything is asked of the job itself, through what it prints.

use crate::hands::Gate;
use crate::world::World;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

#[test]
fn a_pipe_gets_the_bare_id_and_json_the_whole_reply() {
    let world = World::new();
    assert_eq!(world.run("submit --hold -- true").ok(), "1\n");
    let reply = world.run("--json submit --hold -- true").json();
    assert_eq!((reply["id"].as_str(), reply["state"].as_str()), (Some("2"), Some("queued")));
    assert_eq!(reply["existing"], false);
    assert!(reply["dir"].as_str().unwrap().starts_with(world.state().to_str().unwrap()));
    assert_eq!(world.run("submit --json --hold -- true").json()["id"], "3");
}

#[test]
fn directory_environment_and_mask_are_those_of_the_submitter() {
    let world = World::new();
    let inner = world.dir().join("in side");
    std::fs::create_dir(&inner).unwrap();
    let script = "umask 027 && exec \"$QRM\" submit -- sh -c 'pwd; umask; echo \"$COLOUR\"; echo \"${HOME-unset}\"'";
    let mut shell = world.shell(script);
    shell.env("COLOUR", "blue\nand = green").env_remove("HOME").current_dir(&inner);
    assert_eq!(String::from_utf8(shell.output().unwrap().stdout).unwrap(), "1\n");
    world.ended("1");
    let out = world.run("logs 1").ok();
    assert_eq!(out, format!("{}\n0027\nblue\nand = green\nunset\n", inner.canonicalize().unwrap().display()));
}

#[test]
fn bytes_that_are_no_text_reach_the_job_as_they_are() {
    let world = World::new();
    let odd = OsString::from_vec((1..=255).collect());
    let mut submit = world.program("qrm");
    submit.args(["submit", "--", "sh", "-c", "printf %s \"$1$ODD\"", "sh"]).arg(&odd).env("ODD", &odd);
    assert!(submit.status().unwrap().success());
    world.ended("1");
    let logs = world.program("qrm").args(["logs", "1"]).output().unwrap().stdout;
    assert_eq!(logs, [odd.as_bytes(), odd.as_bytes()].concat());
    let shown = &world.show("1")["command"][4];
    assert!(shown["hex"].as_str().unwrap().starts_with("0102"), "{shown}");
}

#[test]
fn a_link_in_the_working_directory_stays_one_only_while_it_is_true() {
    let world = World::new();
    let (real, link) = (world.dir().join("real"), world.dir().join("link"));
    std::fs::create_dir(&real).unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    for (pwd, cwd) in [(link.as_path(), &link), (world.dir(), &real), (std::path::Path::new("link"), &real)] {
        let mut submit = world.program("qrm");
        submit.args(["submit", "--hold", "--", "true"]).current_dir(&link).env("PWD", pwd);
        let id = String::from_utf8(submit.output().unwrap().stdout).unwrap();
        let shown = world.show(id.trim())["cwd"].as_str().unwrap().to_owned();
        assert_eq!(std::path::Path::new(&shown), if cwd == &link { cwd.clone() } else { cwd.canonicalize().unwrap() });
    }
}

#[test]
fn a_job_knows_who_it_is_whatever_its_submitter_was() {
    let mut world = World::new();
    for (name, value) in [("QRM_JOB_ID", "77"), ("QRM_ATTEMPT", "9"), ("QRM_ARRAY_INDEX", "5"), ("QRM_JOB_DIR", "/x")] {
        world.set(name, value);
    }
    let say = "echo $QRM_JOB_ID $QRM_ATTEMPT ${QRM_ARRAY_INDEX-none} $QRM_JOB_DIR";
    let job = world.submit("", say);
    let array = world.submit("--array 3-3", say);
    let (job_dir, task_dir) = (world.ended(&job)["dir"].clone(), world.ended(&format!("{array}.3"))["dir"].clone());
    assert_eq!(world.run("logs 1").ok(), format!("1 1 none {}\n", job_dir.as_str().unwrap()));
    assert_eq!(world.run("logs 2.3").ok(), format!("2.3 1 3 {}\n", task_dir.as_str().unwrap()));
}

#[test]
fn an_environment_is_seen_by_its_job_alone() {
    let mut world = World::new();
    let gate = Gate::new(&world, "gate");
    world.run("daemon start").ok();
    std::fs::write(world.dir().join("token"), "s3cr3t-of-mine").unwrap();
    world.set("TOKEN", "s3cr3t-of-mine");
    let id = world.submit("--name open", &format!("{}; test \"$TOKEN\" = \"$(cat token)\"", gate.wait()));
    let held = world.submit("--hold --array 0-3", "true");
    world.unset("TOKEN");
    world.executing(&id);
    for line in [
        "events",
        "--json events",
        "jobs",
        "--json jobs --all",
        "--json show 1",
        "--json show 2",
        "--json show 2.1",
        "show 1",
        "--json status",
        "doctor",
    ] {
        let said = world.run(line);
        assert!(!format!("{said:?}").contains("s3cr3t"), "{line}: {said:?}");
    }
    for pid in world.processes() {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&line).contains("s3cr3t"), "{pid}");
    }
    gate.open(1);
    assert_eq!(world.ended(&id)["exit_code"], 0);
    let log = std::fs::read_to_string(world.state().join("qrmd.log")).unwrap();
    assert!(!log.contains("s3cr3t"));
    let events: String = world
        .sql()
        .prepare("SELECT body FROM event")
        .unwrap()
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert!(events.contains("job.submitted") && !events.contains("s3cr3t"));
    assert_eq!(world.show(&held)["state"], "queued");
}

#[test]
fn chdir_is_where_it_runs_and_must_be_a_directory() {
    let world = World::new();
    std::fs::create_dir(world.dir().join("there")).unwrap();
    std::fs::write(world.dir().join("file"), "").unwrap();
    let id = world.submit("--chdir there", "pwd -P");
    world.ended(&id);
    let there = world.dir().join("there").canonicalize().unwrap();
    assert_eq!(world.run("logs 1").ok(), format!("{}\n", there.display()));
    for dir in ["nowhere", "file"] {
        let said = world.run(&format!("submit --chdir {dir} -- true"));
        assert_eq!(said.code, 2);
        assert!(said.err.contains(&format!("--chdir {dir}")), "{said:?}");
    }
    assert_eq!(world.run("--json jobs").json().as_array().unwrap().len(), 1);
}

#[test]
fn a_directory_that_is_gone_at_the_start_is_the_jobs_failure_and_says_so() {
    let world = World::new();
    let gone = world.dir().join("gone");
    std::fs::create_dir(&gone).unwrap();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--chdir gone --validate true", &gate.wait());
    gate.open(1);
    world.ended(&id);
    let id = world.submit("--chdir gone --hold", "true");
    let id = world.submit(&format!("--chdir gone --after {id}"), "true");
    std::fs::remove_dir(&gone).unwrap();
    world.run("cancel 2").ok();
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["failure"]["cause"].as_str()), (Some("failed"), Some("stage")));
    assert!(job["failure"]["message"].as_str().unwrap().contains("directory"), "{job}");
    assert_eq!(world.run(&format!("wait {id}")).code, 126);
}

#[test]
fn begin_in_the_past_is_now_and_one_to_come_is_waited_for() {
    let world = World::new();
    let past = world.submit("--begin 2001-02-03T04:05:06Z", "true");
    assert_eq!(world.ended(&past)["state"], "completed");
    let later = world.submit("--begin +1s", "true");
    let reason = world.show(&later)["waiting_reason"].as_str().unwrap_or_default().to_owned();
    assert!(reason.starts_with("begins "), "{reason}");
    let job = world.ended(&later);
    assert!(job["started_at"].as_str().unwrap() >= job["begin_at"].as_str().unwrap(), "{job}");
    let far = world.submit("--begin 9999-12-30T00:00:00Z", "true");
    assert_eq!(world.show(&far)["state"], "queued");
}

#[test]
fn a_time_limit_ends_the_job_as_a_timeout_with_124() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let id = world.submit("--time 300ms", &format!("echo begun; {}", gate.wait()));
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["failure"]["cause"].as_str()), (Some("timeout"), Some("timeout")));
    assert_eq!((job["failure"]["kind"].as_str(), job["signal"].as_i64()), (Some("Timeout"), Some(15)));
    assert_eq!(world.run(&format!("wait {id}")).code, 124);
    assert_eq!(world.run(&format!("logs {id}")).ok(), "begun\n");
    assert_eq!(world.run("run --time 200ms -- sleep 1000").code, 124);
}

#[test]
fn who_ignores_term_is_killed_when_ten_seconds_are_over() {
    let world = World::new();
    let heard = Gate::new(&world, "heard");
    let id = world.submit("", &format!("trap 'echo no' TERM; {}; while :; do sleep 1000; done", heard.tell()));
    heard.heard();
    world.executing(&id);
    world.run(&format!("cancel {id}")).ok();
    let shown = world.show(&id);
    assert_eq!(shown["state"], "executing");
    assert!(shown["waiting_reason"].as_str().unwrap().contains("waits for its processes"), "{shown}");
    let job = world.ended(&id);
    assert_eq!((job["state"].as_str(), job["signal"].as_i64()), (Some("cancelled"), Some(9)));
    assert_eq!(world.run(&format!("wait {id}")).code, 128 + 9);
    let events = world.run("--json events").ok();
    assert_eq!(events.matches("\"job.killing\"").count(), 1);
}

#[test]
fn names_and_comments_are_shown_and_held_jobs_stay() {
    let world = World::new();
    world.qrm(["submit", "--hold", "--name", "žluť 7", "--comment", "for Ann; twice", "--", "true"]).ok();
    let shown = world.run("show 1").ok();
    assert!(shown.contains("žluť 7") && shown.contains("for Ann; twice"), "{shown}");
    let ended = world.submit("", "true");
    world.ended(&ended);
    let job = world.show("1");
    assert_eq!((job["state"].as_str(), job["waiting_reason"].as_str()), (Some("queued"), Some("held")));
    assert_eq!(world.run("jobs comment~ann").ok().lines().count(), 2);
    world.run("daemon stop").ok();
    assert_eq!(world.run("jobs state=queued").ok().lines().count(), 2);
}

#[test]
fn a_job_of_another_world_is_not_found_in_this_one() {
    let (one, other) = (World::new(), World::new());
    one.submit("--hold", "true");
    assert_eq!(other.run("show 1").code, 2);
    let program: &OsStr = OsStr::new("true");
    let mut through = other.program("qrm");
    through.args(["submit", "--hold", "--socket"]).arg(one.socket()).arg("--").arg(program);
    assert_eq!(through.output().unwrap().stdout, b"2\n");
    assert_eq!(one.show("2")["command"], serde_json::json!(["true"]));
    assert_eq!(other.run("show 2").code, 2);
}

#[test]
fn variables_are_added_replaced_and_left_out() {
    let mut world = World::new();
    for (name, value) in [("KEPT", "kept"), ("OVER", "mine"), ("LANG", "C.UTF-8")] {
        world.set(name, value);
    }
    let say = "echo ${KEPT-no} ${OVER-no} ${NEW-no} ${LANG-no}";
    let run = |options: &[&str]| world.qrm([&["run"], options, &["--", "sh", "-c", say]].concat()).ok();
    assert_eq!(run(&[]), "kept mine no C.UTF-8\n");
    assert_eq!(run(&["--env", "OVER=yours", "--env", "NEW=a=b c"]), "kept yours a=b c C.UTF-8\n");
    assert_eq!(run(&["--clean-env"]), "no no no C.UTF-8\n");
    assert_eq!(run(&["--clean-env", "--env", "KEPT", "--env", "LANG="]), "kept no no\n");
    let lines = r#"{"command":["sh","-c","echo $NEW $KEPT"],"env":{"NEW":"1"},"clean_env":true}
{"command":["sh","-c","echo $NEW $KEPT"],"env":{"NEW":"2"}}
"#;
    let said = world.feed("submit --bulk -", lines.as_bytes()).ok();
    let ids: Vec<&str> = said.split_whitespace().collect();
    world.run(&format!("wait {}", ids.join(" "))).ok();
    let said: Vec<String> = ids.iter().map(|id| world.run(&format!("logs {id}")).ok()).collect();
    assert_eq!(said, ["1\n", "2 kept\n"]);
    // What is secret in them is nowhere but in the table of environments.
    world.qrm(["run", "--env", "TOKEN=s3cr3t-value", "--", "true"]).ok();
    for line in ["--json jobs --all", "--json events", "--json show 1"] {
        assert!(!world.run(line).ok().contains("s3cr3t-value"), "{line}");
    }
    for (args, says) in [
        (["submit", "--env", "NOPE", "true"], "no such variable here"),
        (["submit", "--env", "=x", "true"], "can not be the name of a variable"),
        (["submit", "--env", "QRM_JOB_ID=7", "true"], "QRM_JOB_ID can not be set"),
    ] {
        let said = world.qrm(args);
        assert!(said.code == 2 && said.err.contains(says), "{args:?}: {said:?}");
    }
}
