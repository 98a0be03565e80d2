//! What a job saves for its next attempt: where, who can see it, and how long it is kept.

use crate::hands::{Gate, words};
use crate::scratch::Goings;
use crate::system::{ALICE, System, possible};
use crate::world::World;
use serde_json::{Value, json};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

fn dir(job: &Value) -> PathBuf {
    Path::new(job["dir"].as_str().unwrap()).join("qrm-checkpoint")
}

#[test]
fn what_an_attempt_saved_is_there_for_the_next_and_gone_when_the_job_has_completed() {
    let world = World::new();
    let (gate, here) = (Gate::new(&world, "gate"), Gate::new(&world, "here"));
    let save = "mkdir -p $QRM_CHECKPOINT_DIR/a/b; echo $QRM_ATTEMPT >>$QRM_CHECKPOINT_DIR/a/b/step";
    let again = format!("cat $QRM_CHECKPOINT_DIR/a/b/step; {}; {}", here.tell(), gate.wait());
    let script = format!("{save}; test $QRM_ATTEMPT = 1 && exit 3; {again}");
    let id = world.submit("--retries 1 --backoff 1ms", &script);
    here.heard();
    let saved = dir(&world.show(&id));
    let goings = Goings::of(saved.parent().unwrap());
    gate.open(1);
    let job = world.ended(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)));
    assert_eq!(world.run(&format!("logs {id}")).ok(), "1\n2\n");
    goings.gone(&saved);
    goings.gone(&saved.with_file_name(".qrm-gone"));
    let left: Vec<_> =
        std::fs::read_dir(saved.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["stdout"]);
}

#[test]
fn what_a_job_saved_that_did_not_complete_is_kept_until_it_is_forgotten() {
    let world = World::new();
    let save = "echo half >$QRM_CHECKPOINT_DIR/done; exit 7";
    let id = world.submit("--preemptible", save);
    let job = world.ended(&id);
    assert_eq!(job["state"], "failed");
    // Where nothing was saved, nothing is kept.
    let gate = Gate::new(&world, "gate");
    let empty = world.submit("--preemptible", &format!("{}; exit 7", gate.wait()));
    world.executing(&empty);
    let nothing = dir(&world.show(&empty));
    let goings = Goings::of(nothing.parent().unwrap());
    assert!(nothing.exists());
    gate.open(1);
    assert_eq!(world.ended(&empty)["state"], "failed");
    goings.gone(&nothing);
    assert_eq!(std::fs::read_to_string(dir(&job).join("done")).unwrap(), "half\n");
    world.run("cleanup --older-than 0s").ok();
    assert!(!dir(&job).exists());
}

#[test]
fn who_may_go_on_later_has_a_place_for_what_it_saves_and_nobody_else() {
    let world = World::new();
    world.run("queue set spare --preemptible").ok();
    let say = "echo ${QRM_CHECKPOINT_DIR-none}";
    for (options, has) in [
        ("", false),
        ("--priority high --exclusive --time 1h", false),
        ("--retries 1", true),
        ("--preemptible", true),
        ("--preemptible --checkpoint-signal USR1", true),
        ("--idle", true),
        ("--queue spare", true),
    ] {
        let id = world.submit(options, say);
        let job = world.ended(&id);
        let want = if has { dir(&job).display().to_string() } else { "none".to_owned() };
        assert_eq!(world.run(&format!("logs {id}")).ok().trim(), want, "{options}");
    }
    let id = world.submit("--retries 1 --array 0-1", say);
    world.ended(&id);
    for task in ["0", "1"] {
        let task = format!("{id}.{task}");
        let want = dir(&world.show(&task)).display().to_string();
        assert_eq!(world.run(&format!("logs {task}")).ok().trim(), want);
    }
    assert!(world.run("submit --env QRM_CHECKPOINT_DIR=/x true").err.contains("can not be set"));
}

#[test]
fn a_job_that_makes_room_goes_on_with_what_it_saved() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let save = "trap 'echo 41 >$QRM_CHECKPOINT_DIR/step; exit 0' USR1";
    let go_on = "test -e $QRM_CHECKPOINT_DIR/step && cp $QRM_CHECKPOINT_DIR/step result && exit 0";
    let id = world.submit("--preemptible --checkpoint-signal USR1", &format!("{go_on}; {save}; {}", gate.wait()));
    world.executing(&id);
    // A command beside it knows where that is, too.
    let beside = world.run(&format!("exec {id} -- printenv QRM_CHECKPOINT_DIR")).ok();
    assert_eq!(beside.trim(), dir(&world.show(&id)).display().to_string());
    let urgent = world.submit("--priority high --on-conflict preemption", "true");
    assert_eq!(world.ended(&urgent)["state"], "completed");
    let job = world.ended(&id);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)));
    assert_eq!(words(&world, "result"), ["41"]);
}

#[test]
fn where_a_daemon_serves_all_it_is_the_users_and_goes_with_the_users_rights() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let gate = system.gate("gate");
    let save = "mkdir $QRM_CHECKPOINT_DIR/a; echo x >$QRM_CHECKPOINT_DIR/a/b; chmod 0 $QRM_CHECKPOINT_DIR/a";
    let id = system.submit(ALICE, "--preemptible", &format!("{save}; read x <{}", gate.display()));
    system.executing(&id);
    let saved = dir(&system.show(ALICE, &id));
    let stat = std::fs::metadata(&saved).unwrap();
    assert_eq!((stat.uid(), stat.permissions().mode() & 0o7777), (ALICE.uid, 0o700));
    let goings = Goings::of(saved.parent().unwrap());
    std::fs::write(&gate, "x\n").unwrap();
    assert_eq!(system.ended(ALICE, &id)["state"], "completed");
    goings.gone(&saved);
    goings.gone(&saved.with_file_name(".qrm-gone"));
}
