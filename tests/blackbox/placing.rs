//! Jobs beside others: alternatives, the whole machine, gaps, who makes room for whom, offers, and tasks that wait for tasks.
//! A gate holds the machine while the others come.

use crate::hands::{Gate, words};
use crate::queues::codes;
use crate::world::World;
use qrm_protocol::time::Timestamp;
use serde_json::{Value, json};

/// Submits a shell command with options of which some have blanks; its id.
#[track_caller]
fn submitted(world: &World, options: &[&str], script: &str) -> String {
    let words = ["submit"].into_iter().chain(options.iter().copied()).chain(["--", "sh", "-c", script]);
    world.qrm(words).ok().trim().to_owned()
}

#[test]
fn a_job_takes_the_first_of_its_alternatives_that_fits() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 2", &gate.wait());
    world.executing(&first);
    let options = ["--cpus", "4", "--or", "--cpus 3", "--or", "--cpus 2 --time 1h", "--or", "--cpus 1"];
    let second = submitted(&world, &options, &gate.wait());
    world.executing(&second);
    let job = world.show(&second);
    let shown = ["variant", "cpus", "time_limit_ms"].map(|key| job[key].clone());
    assert_eq!(shown, [json!(2), json!(2), json!(3_600_000)]);
    assert_eq!(job["or"], json!([{"cpus": 3}, {"cpus": 2, "time_limit_ms": 3_600_000}, {"cpus": 1}]));
    assert!(world.run(&format!("show {second}")).ok().contains("--cpus 2 --time 1h00m  (this is what it has)"));
    gate.open(2);
    world.ended(&second);
    let third = submitted(&world, &options, "true");
    assert_eq!(world.ended(&third)["variant"], json!(null));
}

#[test]
fn who_wants_the_machine_for_itself_has_it() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--exclusive", &gate.wait());
    world.executing(&first);
    let second = world.submit("--cpus 0", "true");
    assert_eq!(codes(&world, &second), ["exclusive"]);
    gate.open(1);
    assert_eq!(world.ended(&second)["state"], "completed");
    // It takes it shared where it says so.
    let first = world.submit("", &gate.wait());
    world.executing(&first);
    let third = world.submit("--exclusive --on-conflict sharing", "true");
    assert_eq!(world.ended(&third)["state"], "completed");
    gate.open(1);
}

#[test]
fn preemptible_jobs_make_room_for_a_higher_class_and_wait_for_their_next_attempt() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let script = format!("trap 'echo saved >>order; exit 0' USR1; echo $QRM_ATTEMPT >>order; {}", gate.wait());
    let victim = world.submit("--preemptible --checkpoint-signal USR1", &script);
    world.executing(&victim);
    // Of the same class nobody makes room.
    let equal = world.submit("--on-conflict preemption", "true");
    assert_eq!(codes(&world, &equal), ["cpus"]);
    let job = world.show(&victim);
    assert_eq!((&job["state"], &job["waiting_reason"]), (&json!("executing"), &json!(null)));
    let urgent = world.submit("--on-conflict preemption --priority high", "echo urgent >>order");
    assert_eq!(world.ended(&urgent)["state"], "completed");
    gate.open(1);
    world.ended(&equal);
    let job = world.ended(&victim);
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(2)));
    assert_eq!(words(&world, "order"), ["1", "saved", "urgent", "2"]);
}

#[test]
fn idle_jobs_only_fill_gaps() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let gate = Gate::new(&world, "gate");
    let idle = world.submit("--idle", &gate.wait());
    world.executing(&idle);
    let job = world.submit("", "true");
    assert_eq!(world.ended(&job)["state"], "completed");
    gate.open(1);
    assert_eq!(world.ended(&idle)["attempt"], 2);
}

#[test]
fn an_offer_is_accepted_once() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--cpus 2 --time 1h", &gate.wait());
    world.executing(&first);
    let second = world.submit("--cpus 4 --on-conflict negotiation", &gate.wait());
    let offers = world.show(&second)["offers"].clone();
    let less = offers.as_array().unwrap().iter().find(|offer| offer["kind"] == "less");
    let less = less.unwrap_or_else(|| panic!("{offers}"));
    assert_eq!(less["cpus"], 2);
    let text = world.run(&format!("explain {second}")).ok();
    let id = less["id"].as_str().unwrap();
    assert!(text.contains(&format!("qrm offer accept {id}  start now with 2 cpus\n")), "{text}");
    assert_eq!(world.run(&format!("offer accept {id}")).ok(), format!("job {second} is to start now with 2 cpus\n"));
    world.executing(&second);
    for (offer, says) in [
        (id, format!("offer {id} was accepted before")),
        (&format!("{second}-9"), format!("there is no offer {second}-9")),
        ("99-1", "there is no job 99".to_owned()),
    ] {
        let said = world.run(&format!("offer accept {offer}"));
        assert!(said.code == 2 && said.err.contains(&says), "{offer}: {said:?}");
    }
    gate.open(2);
    let job = world.ended(&second);
    assert_eq!((&job["state"], &job["cpus"]), (&json!("completed"), &json!(2)));
}

#[test]
fn tasks_wait_for_those_with_their_index() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let gate = Gate::new(&world, "gate");
    let first = world.submit("--array 0-3", &format!("test $QRM_ARRAY_INDEX = 0 || {}", gate.wait()));
    let second = world.submit(&format!("--array 0-3 --cpus 0 --after-ok {first}.*"), "true");
    world.qrm(["wait", &format!("{second}.0")]).ok();
    assert_eq!(world.show(&second)["tasks"]["waiting"], 3);
    gate.open(3);
    assert_eq!(world.ended(&second)["state"], "completed");
    let said = world.run(&format!("submit --after {first}.* -- true"));
    assert!(said.code == 2 && said.err.contains("this job is no array"), "{said:?}");
    let plain = world.submit("--hold", "true");
    let said = world.run(&format!("update {plain} --after {first}.*"));
    let why = format!("{first}.* means the task with the same index, and job {plain} is no array");
    assert!(said.code == 2 && said.err.contains(&why), "{said:?}");
    assert!(said.err.contains(&format!("hint: write {first} to wait for the whole job")), "{said:?}");
    let said = world.run(&format!("update {plain} --width 2"));
    assert!(said.code == 2 && said.err.contains("has no width"), "{said:?}");
}

#[test]
fn a_job_file_waits_for_tasks_by_name_and_takes_alternatives() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let text = "[defaults]\nhold = true\nor = [{ cpus = 1, mem = '1M' }]\n[[job]]\nname = 'prep'\narray = '0-3'\ncommand = 'x'\n\
        [[job]]\nname = 'train'\narray = '0-3'\nafter_ok = 'prep.*'\ncommand = 'y'\n";
    std::fs::write(world.dir().join("jobs.toml"), text).unwrap();
    assert_eq!(world.run("submit jobs.toml").ok(), "1\n2\n");
    let job = world.show("2");
    assert_eq!(
        (&job["after"], &job["or"]),
        (&json!(["completion of 1.*"]), &json!([{"cpus": 1, "mem_bytes": 1 << 20}]))
    );
}

#[test]
fn what_a_job_wants_beside_others_is_changed_before_it_starts() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let held = world.submit("--hold", "true");
    let id = submitted(&world, &["--after", &held, "--or", "--cpus 2", "--preemptible", "--min-run", "1m"], "true");
    let show = |key: &str| world.show(&id)[key].clone();
    for (words, key, value) in [
        (&["--or", "--cpus 3", "--or", "--shared"][..], "or", json!([{"cpus": 3}, {"exclusive": false}])),
        (&["--or", "none"], "or", json!([])),
        (&["--exclusive", "--idle", "--no-preemptible"], "exclusive", json!(true)),
        (&["--no-exclusive", "--no-idle"], "idle", json!(false)),
        (&["--checkpoint-signal", "USR2", "--preemptible"], "checkpoint_signal", json!(12)),
        (&["--min-run", "2m"], "min_run_ms", json!(120_000)),
        (&["--on-conflict", "queuing"], "on_conflict", json!("queuing")),
        (&["--after-start", &held, "--any"], "after", json!([format!("end of {held}"), format!("start of {held}")])),
        (&["--after-start", "none", "--all"], "after", json!([format!("end of {held}")])),
    ] {
        let line: Vec<&str> = ["update", &id].into_iter().chain(words.iter().copied()).collect();
        world.qrm(line).ok();
        assert_eq!(show(key), value, "{words:?}");
    }
    let circle = world.run(&format!("update {held} --after {id}"));
    assert!(circle.code == 2, "{circle:?}");
    let nobody: Value = world.show(&held)["after"].clone();
    assert_eq!(nobody, json!([]));
    world.run(&format!("update {id} --after none")).ok();
    assert_eq!(world.ended(&id)["state"], "completed");
}

#[test]
fn who_makes_room_stands_still_or_is_cancelled_where_its_queue_says_so() {
    let world = World::with(&[("QRM_HOST_CPUS", "1")]);
    let (gate, urgent_gate) = (Gate::new(&world, "gate"), Gate::new(&world, "urgent"));
    for what in ["suspend", "cancel"] {
        world.run(&format!("queue set {what} --preemptible --on-preempt {what}")).ok();
    }
    let victim = world.submit("--queue suspend", &gate.wait());
    world.executing(&victim);
    let urgent = world.submit("--priority high --on-conflict preemption", &urgent_gate.wait());
    world.executing(&urgent);
    let job = world.show(&victim);
    assert_eq!(
        (&job["state"], &job["waiting_reason"]),
        (&json!("executing"), &json!("stands still to make room for another job"))
    );
    assert_eq!(codes(&world, &victim), ["preempting"]);
    assert_eq!(world.run("--json status").json()["machine"]["cpus_used"], 1);
    for verb in ["resume", "suspend"] {
        let said = world.run(&format!("{verb} {victim}"));
        let why = format!("job {victim} stands still to make room for another job\n");
        assert!(
            said.code == 2 && said.err.contains(&why) && said.err.contains("goes on by itself"),
            "{verb}: {said:?}"
        );
    }
    // It could end now, and does not before it goes on.
    gate.open(1);
    urgent_gate.open(1);
    let (urgent, job) = (world.ended(&urgent), world.ended(&victim));
    assert_eq!((&job["state"], &job["attempt"]), (&json!("completed"), &json!(1)));
    let at = |job: &Value| serde_json::from_value::<Timestamp>(job["ended_at"].clone()).unwrap();
    assert!(at(&job) >= at(&urgent), "{job} {urgent}");
    let victim = world.submit("--queue cancel", &gate.wait());
    world.executing(&victim);
    let urgent = world.submit("--priority high --on-conflict preemption", "true");
    let job = world.ended(&victim);
    assert_eq!((&job["state"], &job["failure"]["cause"]), (&json!("cancelled"), &json!("preempted")));
    assert_eq!(job["failure"]["message"], format!("it made room for job {urgent}"));
    assert_eq!(world.ended(&urgent)["state"], "completed");
    // And one that stands still for another can be cancelled.
    let victim = world.submit("--queue suspend", &gate.wait());
    world.executing(&victim);
    let urgent = world.submit("--priority high --on-conflict preemption", &urgent_gate.wait());
    world.executing(&urgent);
    world.run(&format!("cancel {victim}")).ok();
    assert_eq!(world.ended(&victim)["state"], "cancelled");
    urgent_gate.open(1);
    assert_eq!(world.ended(&urgent)["state"], "completed");
}
