//! Forgetting what has ended: how much, and nothing else.
//! What is kept must be as it was.

use crate::hands::Gate;
use crate::world::World;

/// The ids that are known.
fn known(world: &World) -> Vec<String> {
    let jobs = world.run("--json jobs --all").json();
    jobs.as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_has_ended_is_forgotten_with_its_output_and_what_lives_is_not() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let gate = Gate::new(&world, "gate");
    let runs = world.submit("", &gate.wait());
    world.executing(&runs);
    let held = world.submit("--hold", "true");
    let mut dirs = Vec::new();
    for _ in 0..5 {
        let id = world.submit("", "echo said; echo mine > $QRM_JOB_DIR/result");
        dirs.push(std::path::PathBuf::from(world.ended(&id)["dir"].as_str().unwrap()));
    }
    let array = world.submit("--array 0-2", "echo said");
    world.ended(&array);
    assert_eq!(world.run("cleanup --keep-last 2 --dry-run").ok(), "4 jobs would be forgotten\n");
    assert_eq!(world.run("cleanup --keep-last 100").ok(), "0 jobs forgotten\n");
    assert_eq!(world.run("cleanup --older-than 1h --keep-last 2").ok(), "0 jobs forgotten\n");
    assert_eq!(known(&world).len(), 8);
    assert_eq!(world.run("cleanup --keep-last 2").ok(), "4 jobs forgotten\n");
    assert_eq!(known(&world), [runs.as_str(), held.as_str(), "7", array.as_str()]);
    assert_eq!(dirs.iter().map(|dir| dir.exists()).collect::<Vec<_>>(), [false, false, false, false, true]);
    assert_eq!(world.run("logs 7").ok(), "said\n");
    assert_eq!(world.run("show 3").code, 2);
    let said = world.run("--json cleanup --older-than 0s").json();
    assert_eq!(said, serde_json::json!({"jobs": 2, "dry_run": false}));
    assert_eq!(known(&world), [runs.as_str(), held.as_str()]);
    let left = std::fs::read_dir(world.state().join("jobs")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> =
        left.flat_map(|shard| std::fs::read_dir(shard).unwrap()).map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, [runs.as_str()]);
    // What was forgotten is so for the next daemon, too, and ids go on.
    world.kill_daemon();
    assert_eq!(known(&world), [runs.as_str(), held.as_str()]);
    gate.open(1);
    assert_eq!(world.ended(&runs)["state"], "completed");
    assert_eq!(world.submit("", "true"), "9");
}

#[test]
fn how_much_is_to_be_said() {
    let world = World::new();
    for (line, says) in [
        ("cleanup", "--older-than"),
        ("cleanup --dry-run", "--older-than"),
        ("cleanup --older-than soon", "--older-than"),
        ("cleanup --keep-last -1", "--keep-last"),
    ] {
        let said = world.run(line);
        assert!(said.code == 2 && said.err.contains(says), "{line}: {said:?}");
    }
    world.run("daemon start").ok();
    let mut wire = crate::hands::Wire::new(&world);
    wire.ask("job.cleanup", &serde_json::json!({}));
    let reply = wire.hear().unwrap();
    assert_eq!(reply["error"]["data"]["code"], "INVALID_ARGUMENT", "{reply}");
    assert_eq!(world.run("--quiet cleanup --older-than 1d").ok(), "");
}

#[test]
fn many_are_forgotten_piece_by_piece() {
    let world = World::with(&[("QRM_STORE_DURABILITY", "relaxed")]);
    world.feed("submit --bulk -", &b"{\"command\":[\"true\"],\"hold\":true}\n".repeat(1_000)).ok();
    world.run("cancel 1-990").ok();
    assert_eq!(world.run("cleanup --older-than 0s").ok(), "990 jobs forgotten\n");
    assert_eq!(known(&world).len(), 10);
}
