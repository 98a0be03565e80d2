//! Settings: where they come from, what of them can not be meant, and taking them anew while jobs run.

use crate::hands::{Gate, line};
use crate::world::World;
use serde_json::{Value, json};

fn configure(world: &World, text: &str) -> String {
    let dir = world.dir().join("config/qrm");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("config.toml"), text).unwrap();
    dir.join("config.toml").display().to_string()
}

fn setting(world: &World, key: &str) -> Value {
    let said = world.run("--json config show").json();
    said["settings"].as_array().unwrap().iter().find(|one| one["key"] == key).unwrap().clone()
}

#[test]
fn every_setting_says_where_it_came_from() {
    let mut world = World::with(&[("QRM_HOST_CPUS", "3")]);
    let file = configure(&world, "[store]\nretention = \"30d\"\n[host]\ncpus = 2\n");
    assert_eq!(world.run("config path").ok(), format!("{file}\n"));
    for (key, value, origin) in [
        ("store.retention", "30d", format!("{file}:2")),
        ("host.cpus", "3", "QRM_HOST_CPUS".to_owned()),
        ("store.durability", "full", "built in".to_owned()),
    ] {
        let setting = setting(&world, key);
        assert_eq!((setting["value"].as_str(), setting["origin"].as_str()), (Some(value), Some(origin.as_str())));
    }
    let shown = world.run("config show").ok();
    assert!(shown.contains("line 2") && shown.contains("QRM_HOST_CPUS") && shown.contains(&file), "{shown}");
    // A job's end starts a daemon with the same flags.
    world.run("daemon stop").ok();
    let elsewhere = world.dir().join("elsewhere.toml").display().to_string();
    std::fs::write(&elsewhere, "[store]\nretention = \"7d\"\n").unwrap();
    world.set("QRM_CONFIG", &elsewhere);
    assert_eq!(world.run("config path").ok(), format!("{elsewhere}\n"));
    assert_eq!(setting(&world, "store.retention")["origin"], format!("{elsewhere}:2"));
}

#[test]
fn all_that_can_not_be_meant_is_said_at_once_and_no_daemon_is_asked() {
    let world = World::new();
    let file = configure(&world, "[store]\n  durablity = \"full\"\n[host]\ncpus = 0\n");
    let said = world.run("config check");
    assert_eq!(said.code, 2);
    for part in [
        &format!("{file}:2:3: there is no setting 'store.durablity'"),
        "  2 |   durablity = \"full\"\n    |   ^",
        "did you mean store.durability?",
        &format!("{file}:4:8: host.cpus: '0' is not a number of cpus"),
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    let json = world.run("--json config check");
    assert_eq!((json.code, json.json()["mistakes"][1]["line"].as_u64()), (2, Some(4)));
    assert!(!world.socket().exists(), "a daemon was started");
    // None starts with it either, and says the same.
    let status = world.run("status");
    assert!(status.code == 2 && status.err.contains("there is no setting 'store.durablity'"), "{status:?}");
    assert!(status.err.contains("1 more: qrm config check"), "{status:?}");
    let fine = world.dir().join("fine.toml").display().to_string();
    std::fs::write(&fine, "[store]\n").unwrap();
    assert_eq!(world.qrm(["config", "check", &fine]).ok(), format!("{fine} is fine\n"));
    let beside = world.run("config check fine.toml");
    assert_eq!(beside.ok(), format!("{fine} is fine\n"), "a file of the command line is one of this directory");
    let none = world.run("config check /nowhere.toml");
    assert!(none.code == 2 && none.out.contains("/nowhere.toml can not be read"), "{none:?}");
    std::fs::remove_file(&file).unwrap();
    assert!(world.run("config check").ok().contains("as it is built in"));
}

#[test]
fn why_no_daemon_could_start_is_said_although_the_settings_are_fine() {
    let world = World::new();
    std::fs::create_dir(world.state()).unwrap();
    std::fs::write(world.state().join("qrm.sqlite"), "this was a database\n".repeat(500)).unwrap();
    let said = world.run("config check");
    assert!(said.code == 4 && said.out.contains("as it is built in"), "{said:?}");
    assert!(said.err.contains("not a database") && said.err.contains("restore a copy"), "{said:?}");
    let said = world.run("--json config check");
    let json = said.json();
    assert_eq!((said.code, json["error"]["code"].as_str()), (4, Some("UNAVAILABLE")), "{said:?}");
    assert!(json["mistakes"].as_array().unwrap().is_empty(), "{said:?}");
}

#[test]
fn a_configuration_that_means_another_file_to_the_daemon_is_refused() {
    let mut world = World::new();
    std::fs::write(world.dir().join("here.toml"), "[store]\nretention = \"7d\"\n").unwrap();
    world.set("QRM_CONFIG", "here.toml");
    for line in ["config path", "config check", "config show", "status", "daemon start", "doctor"] {
        let said = world.run(line);
        assert!(
            said.code == 2 && said.err.contains("QRM_CONFIG is 'here.toml', which is not an absolute path"),
            "{line}: {said:?}"
        );
    }
    assert!(!world.socket().exists(), "a daemon was started");
}

#[test]
fn what_stands_in_a_file_does_nothing_to_a_terminal() {
    let world = World::new();
    configure(&world, "[store]\nretention = \"\\u001b[2J\" # \u{9b}2J\n");
    for line in ["config check", "config check --json", "doctor"] {
        let said = world.run(line);
        let obeyed = |c: char| c.is_control() && c != '\n';
        assert!(said.code != 0 && said.out.contains("store.retention"), "{line}: {said:?}");
        assert!(!said.out.contains(obeyed) && !said.err.contains(obeyed), "{line}: {said:?}");
    }
}

#[test]
fn a_reload_uses_what_it_can_and_names_what_needs_a_restart() {
    let world = World::new();
    let file = configure(&world, "[host]\ncpus = 1\n");
    let gate = Gate::new(&world, "gate");
    let ids = [world.submit("", &gate.wait()), world.submit("", &gate.wait())];
    world.executing(&ids[0]);
    assert_eq!(world.show(&ids[1])["state"], "queued");
    assert_eq!(world.run("daemon reload").ok(), "nothing has changed\n");
    assert_eq!(world.run("--quiet daemon reload").ok(), "");
    // What is wrong changes nothing.
    configure(&world, "[host]\ncpus = \"many\"\n[store]\nretention = \"1d\"\n");
    let said = world.run("daemon reload");
    assert!(said.code == 2 && said.err.contains(&format!("{file}:2:8: host.cpus")), "{said:?}");
    assert_eq!(
        (setting(&world, "host.cpus")["value"].as_str(), setting(&world, "store.retention")["value"].as_str()),
        (Some("1"), Some("90d"))
    );
    configure(&world, "[host]\ncpus = 2\n[store]\ndurability = \"relaxed\"\n[supervision]\ncgroup = \"none\"\n");
    let changed = |key: &str, from: &str, to: &str, applied: bool| json!({"key": key, "from": from, "to": to, "applied": applied});
    assert_eq!(
        world.run("--json daemon reload").json()["changed"],
        json!([
            changed("store.durability", "full", "relaxed", true),
            changed("host.cpus", "1", "2", true),
            changed("supervision.cgroup", "auto", "none", false),
        ])
    );
    // There is room for the other one now, and it started by itself.
    world.executing(&ids[1]);
    assert_eq!(world.run("--json daemon status").json()["durability"], "relaxed");
    assert_eq!(setting(&world, "supervision.cgroup")["value"], "auto", "it is not used yet");
    // Fewer than are granted: nothing is taken away, and nothing starts.
    configure(&world, "[host]\ncpus = 1\n");
    let pid = rustix::process::Pid::from_raw(world.daemon().unwrap()).unwrap();
    let last = world.run("--json daemon status").json()["last_seq"].clone();
    let mut events = world.spawn(&format!("--json events -f --after {last}"));
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(events.stdout.take().unwrap()));
    assert!(lines.map_while(Result::ok).any(|line| line.contains("machine.found")), "a hangup reloads");
    events.kill().unwrap();
    events.wait().unwrap();
    let third = world.submit("", "true");
    gate.open(1);
    // One still has the only cpu that there is.
    world.run("run --cpus 0 --priority critical -- true").ok();
    assert_eq!(world.show(&third)["state"], "queued");
    gate.open(1);
    for id in ids.iter().chain([&third]) {
        assert_eq!(world.ended(id)["state"], "completed");
    }
}

const NIGHT: &str = "[[queue]]\nname = \"night\"\nmax_running = 1\nmax_time = \"12h\"\npreemptible = true\n";

/// The events of queues and of the policy, each as its kind and its queue.
fn decided(world: &World) -> Vec<String> {
    let events = world.run("--json events").ok();
    let events = events.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let mut words: Vec<String> =
        events.map(|event| format!("{} {}", word(&event, "kind"), word(&event, "queue"))).collect();
    words.retain(|one| one.starts_with("queue.") || one.starts_with("policy."));
    words
}

#[test]
fn a_queue_of_the_configuration_is_there_before_the_first_job_and_is_nobody_elses() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    let file = configure(&world, &format!("[scheduler]\nweights = {{ fair_share = 0 }}\n\n{NIGHT}"));
    let id = world.submit("--queue night", "true");
    assert_eq!(world.ended(&id)["time_limit_ms"], 12 * 3_600_000);
    let night = world.run("--json queue list").json()[1].clone();
    let shown = ["name", "configured", "max_running", "preemptible"].map(|key| night[key].clone());
    assert_eq!(shown, [json!("night"), json!(true), json!(1), json!(true)], "{night}");
    for line in ["queue set night --weight 2", "queue remove night"] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains("configuration"), "{line}: {said:?}");
    }
    let queue = setting(&world, "queue.night");
    let shown = ["value", "default", "origin"].map(|key| queue[key].as_str().unwrap().to_owned());
    assert_eq!(shown, ["weight=1,max_running=1,max_time=12h,preemptible=true", "none", &format!("{file}:4")]);
    assert_eq!(setting(&world, "scheduler.weights")["value"], "priority=10,age_per_hour=10,fair_share=0");
    // What is as it was is not written down again.
    assert_eq!(decided(&world), ["policy.set ", "queue.set night"]);
    world.kill_daemon();
    world.run("run -- true").ok();
    assert_eq!(world.run("daemon reload").ok(), "nothing has changed\n");
    assert_eq!(decided(&world), ["policy.set ", "queue.set night"]);
}

#[test]
fn a_reload_says_which_queues_are_others_and_one_with_jobs_stays() {
    let world = World::with(&[("QRM_HOST_CPUS", "4")]);
    configure(&world, &format!("{NIGHT}\n[[queue]]\nname = \"old\"\n"));
    let gate = Gate::new(&world, "gate");
    let ids = [world.submit("--queue night", &gate.wait()), world.submit("--queue night", &gate.wait())];
    world.executing(&ids[0]);
    let changed = |key: &str, from: &str, to: &str| json!({"key": key, "from": from, "to": to, "applied": true});
    let night = "weight=1,max_running=1,max_time=12h,preemptible=true";
    configure(&world, &format!("{}\n[[queue]]\nname = \"new\"\nweight = 3\n", NIGHT.replace("= 1", "= 2")));
    assert_eq!(
        world.run("--json daemon reload").json()["changed"],
        json!([
            changed("queue.new", "none", "weight=3"),
            changed("queue.night", night, &night.replace("running=1", "running=2")),
            changed("queue.old", "weight=1", "none"),
        ])
    );
    // There is room in it now.
    world.executing(&ids[1]);
    configure(&world, "");
    world.run("daemon reload").ok();
    let queues = world.run("--json queue list").json();
    let shown: Vec<(&str, bool)> = queues
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["name"].as_str().unwrap(), one["configured"].as_bool().unwrap()))
        .collect();
    assert_eq!(shown, [("default", false), ("night", false)], "jobs are in it, and it is anybody's now");
    world.run("queue set night --weight 2").ok();
    gate.open(2);
    ids.iter().for_each(|id| assert_eq!(world.ended(id)["state"], "completed"));
}

#[test]
fn a_queue_that_can_not_be_meant_is_shown_where_it_stands() {
    let world = World::new();
    let file = configure(&world, "[[queue]]\nname = \"night\"\n  max_runing = 4\n\n[[queue]]\nname = \"night\"\n");
    let said = world.run("config check");
    assert_eq!(said.code, 2);
    for part in [
        &format!("{file}:3:3: there is no 'max_runing' of a queue"),
        "  3 |   max_runing = 4\n    |   ^",
        "did you mean max_running?",
    ] {
        assert!(said.out.contains(part), "{part}: {}", said.out);
    }
    configure(&world, &format!("{NIGHT}\n{NIGHT}"));
    let said = world.run("config check");
    assert!(said.out.contains(&format!("{file}:8:8: two queues are named 'night'")), "{said:?}");
    assert!(said.out.contains(&format!("the other is at {file}:1")), "{said:?}");
    configure(&world, "");
    world.run("daemon start").ok();
    configure(&world, "[[queue]]\nname = \"Night\"\n");
    let said = world.run("daemon reload");
    assert!(said.code == 2 && said.err.contains("'Night' can not be the name of a queue"), "{said:?}");
    assert_eq!(world.run("--json queue list").json().as_array().unwrap().len(), 1);
}

#[test]
fn users_weigh_as_they_are_configured_and_who_is_unknown_is_named() {
    let world = World::new();
    configure(&world, "[users]\nshares = [\"root=3\", \"nobody-here=2\"]\n");
    world.run("daemon start").ok();
    let events = world.run("--json events").ok();
    let policy = events.lines().find(|line| line.contains("policy.set")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(policy).unwrap()["policy"]["shares"], json!([[0, 3]]));
    // The next daemon reads what this one wrote down.
    world.kill_daemon();
    let said = world.run("--json doctor").json();
    let found = said["findings"].as_array().unwrap().iter().find(|one| one["topic"] == "shares").unwrap().clone();
    assert!(found["found"].as_str().unwrap().contains("names nobody-here,") && found["health"] == "limited", "{found}");
}

#[test]
fn a_job_may_have_as_many_files_open_as_who_submits_it_and_no_more_than_who_started_the_daemon() {
    let world = World::new();
    let qrm = world.program("qrm");
    let start = world
        .at(std::path::Path::new("/bin/sh"))
        .args(["-c", "ulimit -n 500; exec \"$0\" daemon start"])
        .arg(qrm.get_program())
        .status()
        .unwrap();
    assert!(start.success());
    for _ in 0..2 {
        assert_eq!(world.qrm(["run", "--", "sh", "-c", "ulimit -n; ulimit -Hn"]).ok(), "500\n500\n");
        let fewer = world.shell("ulimit -Sn 100; exec \"$QRM\" run -- sh -c 'ulimit -n; ulimit -Hn'").output().unwrap();
        assert_eq!(String::from_utf8(fewer.stdout).unwrap(), "100\n500\n");
        world.run("daemon reload --exec").ok();
    }
}

#[test]
fn a_daemon_is_replaced_in_its_own_process_while_jobs_run_and_people_wait() {
    let world = World::new();
    let gate = Gate::new(&world, "gate");
    let ids: Vec<String> = (0..3).map(|n| world.submit("--cpus 0", &format!("{}; exit 1{n}", gate.wait()))).collect();
    ids.iter().for_each(|id| world.executing(id));
    let before = world.daemon().unwrap();
    let waiting = world.spawn(&format!("--json wait {}", ids[0]));
    std::fs::write(world.dir().join("talk"), "echo here; cat").unwrap();
    let mut run = world.spawn("run --cpus 0 -- sh talk");
    assert_eq!(line(&mut run), "here");
    for round in 0..3 {
        configure(&world, &format!("[store]\nretention = \"{}d\"\n", 10 + round));
        let said = world.run("--json daemon reload --exec").json();
        assert_eq!(said["pid"], before, "{said}");
        assert_eq!(setting(&world, "store.retention")["value"], format!("{}d", 10 + round));
        assert_eq!(world.run("--json status").json()["running"].as_array().unwrap().len(), 4);
    }
    std::io::Write::write_all(&mut run.stdin.take().unwrap(), b"through\n").unwrap();
    let out = run.wait_with_output().unwrap();
    assert_eq!((out.status.code(), out.stdout.as_slice()), (Some(0), &b"through\n"[..]));
    gate.open(3);
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(world.ended(id)["exit_code"], 10 + n as u64);
    }
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(waited.status.code(), Some(10));
    // Nothing is left of the programs before: no children, and no descriptors that add up.
    let links = std::fs::read_dir(format!("/proc/{before}/fd"))
        .unwrap()
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let links: Vec<_> = links.collect();
    let locks = links.iter().filter(|link| link.ends_with("qrmd.lock")).count();
    assert_eq!((locks, links.iter().filter(|link| link.ends_with("start.lock")).count()), (1, 0), "{links:?}");
    let tasks = std::fs::read_dir(format!("/proc/{before}/task")).unwrap();
    let children = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default());
    let children: Vec<String> =
        children.flat_map(|text| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).collect();
    for child in children {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        assert!(!stat.contains(") Z "), "{stat}");
    }
    // One that could not take over does not.
    configure(&world, "[stroe]\nx = 1\n");
    let said = world.run("daemon reload --exec");
    assert!(
        said.code == 2 && said.err.contains("could not take over") && said.err.contains("this daemon goes on"),
        "{said:?}"
    );
    assert_eq!(world.daemon(), Some(before));
}

#[test]
fn many_who_start_daemons_while_one_is_replaced_find_that_one() {
    let world = World::new();
    let before = {
        world.run("daemon start").ok();
        world.daemon().unwrap()
    };
    std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let said = (0..15).map(|_| world.run("daemon start")).collect::<Vec<_>>();
                    said.into_iter().filter(|said| said.code != 0).map(|said| said.err).collect::<Vec<_>>()
                })
            })
            .collect();
        for _ in 0..5 {
            let said = world.run("--json daemon reload --exec");
            assert_eq!(said.code, 0, "{said:?}");
        }
        // A connection may be cut by the exchange, and then it asks again.
        let errors: Vec<String> = asking.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(errors, Vec::<String>::new());
    });
    assert_eq!(world.daemon(), Some(before), "another daemon came in between");
}
