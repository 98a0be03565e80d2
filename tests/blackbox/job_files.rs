//! Job files: many jobs that wait for each other by name, queued as a whole or not at all.
//! What is wrong with one is shown where it stands.

use crate::hands::on_terminal;
use crate::world::{Said, World};
use serde_json::json;

fn count(world: &World) -> usize {
    world.run("--json jobs --all").json().as_array().unwrap().len()
}

fn submit(world: &World, text: impl AsRef<[u8]>) -> Said {
    std::fs::write(world.dir().join("jobs.toml"), text).unwrap();
    world.run("submit jobs.toml")
}

#[test]
fn jobs_run_after_those_they_name_wherever_they_stand_in_the_file() {
    let world = World::new();
    std::fs::create_dir(world.dir().join("sub")).unwrap();
    let said = submit(
        &world,
        r#"
[defaults]
time = "1h"
priority = "high"
env = { ALL = "all", OWN = "not this" }

[[job]]
name = "collect"
command = "cat step.* | tr '\n' ' '; echo $ALL $OWN; pwd"
after_ok = "steps"
env.OWN = "own"
chdir = "sub"
priority = 5

[[job]]
name = "prep"
command = ["sh", "-c", "echo ready >../ready"]
time_limit_ms = 5_000
chdir = "sub"

[[job]]
name = "steps"
array = "0-3:2%1"
command = "cat ready >/dev/null && echo $QRM_ARRAY_INDEX >sub/step.$QRM_ARRAY_INDEX"
after_ok = ["prep"]

[[job]]
command = "true"
after = ["steps.2", 1]
after_start = "2.0"
any = true
begin = 2001-02-03 04:05:06
comment = "unnamed"
"#,
    );
    // In the order of the file, with ids in the order of who waits for whom.
    assert_eq!(said.ok(), "3\n1\n2\n4\n");
    assert_eq!(world.ended("3")["state"], "completed");
    let sub = world.dir().join("sub").canonicalize().unwrap();
    assert_eq!(world.run("logs 3").ok(), format!("0 2 all own\n{}\n", sub.display()));
    let limits =
        ["1", "2", "3"].map(|id| (world.show(id)["time_limit_ms"].clone(), world.show(id)["priority"].clone()));
    assert_eq!(limits, [(json!(5_000), json!(75)), (json!(3_600_000), json!(75)), (json!(3_600_000), json!(5))]);
    let last = world.ended("4");
    assert_eq!(
        (&last["state"], &last["comment"], &last["name"]),
        (&json!("completed"), &json!("unnamed"), &json!("sh"))
    );
}

#[test]
fn ids_are_for_pipes_a_table_for_terminals_and_names_for_programs() {
    let world = World::new();
    let text =
        "[defaults]\nhold = true\ncommand = \"true\"\n[[job]]\nname = \"a\\u202eb\"\n[[job]]\nname = \"second\"\n";
    assert_eq!(submit(&world, text).ok(), "1\n2\n");
    let list = world.run("--json submit jobs.toml").json();
    assert_eq!(list, json!([{"id": "3", "name": "a\u{202e}b"}, {"id": "4", "name": "second"}]));
    let shown = |args: &[&str]| {
        let mut qrm = world.program("qrm");
        qrm.args(args).env("NO_COLOR", "1");
        on_terminal(qrm, 80).replace('\r', "")
    };
    assert_eq!(shown(&["submit", "jobs.toml"]), "ID  NAME\n 5  a·b\n 6  second\n");
    assert_eq!(shown(&["--quiet", "submit", "jobs.toml"]), "7\n8\n");
    std::fs::write(
        world.dir().join("jobs.toml"),
        format!("[defaults]\nhold=true\n{}", "[[job]]\ncommand=\"x\"\n".repeat(51)),
    )
    .unwrap();
    assert_eq!(shown(&["submit", "jobs.toml"]), "51 jobs submitted, with ids from 9 to 59\n");
}

#[test]
fn a_key_is_the_job_that_there_is_also_for_those_that_wait_for_it() {
    let world = World::new();
    let first = world.submit("--key data --hold", "true");
    let text = "[[job]]\nname=\"use\"\ncommand=\"true\"\nafter_ok=\"data\"\n[[job]]\nname=\"data\"\nkey=\"data\"\ncommand=\"false\"\n";
    assert_eq!(submit(&world, text).ok(), format!("3\n{first}\n"));
    assert_eq!(world.show("3")["waiting_reason"], format!("after completion of {first}"));
    world.run("release 1").ok();
    assert_eq!(world.ended("3")["state"], "completed");
}

#[test]
fn what_is_wrong_is_shown_where_it_stands_and_nothing_is_queued() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    let one = "[[job]]\nname = \"prep\"\ncommand = \"true\"\n";
    for (text, place, says, part, hint) in [
        ("tiem = \"2h\"", "4:1", "a job has no 'tiem'", "tiem", "did you mean time?"),
        ("after-ok = [1]", "4:1", "a job has no 'after-ok'", "after-ok", "did you mean after_ok?"),
        ("time = \"2x\"", "4:8", "'2x' is not a duration", "\"2x\"", ""),
        ("cpus = \"2\"", "4:8", "invalid type: string \"2\", expected u32", "\"2\"", ""),
        ("mem = 8", "4:7", "invalid type: integer `8`", "8", ""),
        ("retries = -1", "4:11", "integer `-1`", "-1", ""),
        ("retry_on = [\"oom\", \"maybe\"]\nretries = 1", "4:20", "'maybe' is not a reason", "\"maybe\"", ""),
        ("retry_on = [\"oom\"]", "4:12", "--retry-on without --retries", "[\"oom\"]", ""),
        ("priority = \"hihg\"", "4:12", "'hihg' is not a priority", "\"hihg\"", ""),
        ("array = \"9-1\"", "4:9", "'9-1' is not an array", "\"9-1\"", ""),
        ("begin = \"soon\"", "4:9", "'soon' is not a time", "\"soon\"", ""),
        ("begin = 3", "4:9", "invalid type: integer", "3", ""),
        ("chdir = \"nowhere\"", "4:9", "nowhere: No such file", "\"nowhere\"", ""),
        ("env = { \"A=B\" = \"1\" }", "4:7", "can not be the name of a variable", "{", ""),
        ("any = true", "4:7", "without a dependency", "true", ""),
        ("time = \"2h\"\ntime_limit_ms = 3", "5:17", "say the same thing", "3", ""),
        ("deadline = \"soon\"", "4:12", "'soon' is not a time", "\"soon\"", ""),
        ("stdout = \"%x\"", "4:10", "%x stands for nothing", "\"%x\"", ""),
        ("labels = { \"a b\" = \"c\" }", "4:10", "can not be the name of a label", "{", ""),
        ("queue_timeout = \"1h\"\nqueue_timeout_ms = 1", "5:20", "say the same thing", "1", ""),
        ("mem_bytes = 3\nmem = \"1G\"", "4:13", "say the same thing", "3", ""),
        ("after = [\"perp\"]", "4:10", "no job of this file is named 'perp'", "\"perp\"", "did you mean \"prep\"?"),
        ("after = [\"nobody at all\"]", "4:10", "is named 'nobody at all'", "\"nobody", "by its 'name'"),
        ("after = [\"prep.0\"]", "4:10", "'prep' has no task 0", "\"prep.0\"", "it is not an array"),
        ("after = [\"prep\", true]", "4:18", "invalid type: boolean", "true", ""),
        ("after = [\"prep\"]", "4:10", "'prep' waits for itself", "\"prep\"", ""),
        ("command = \"again\"", "4:1", "duplicate key", "command", ""),
        ("name2 = \"", "4:10", "invalid basic string", "", ""),
        ("comment = \"a\\u001bb\"", "4:11", "control characters", "\"a\\u001bb\"", ""),
        ("key = \"a\\u0000b\"", "4:7", "control characters", "\"a\\u0000b\"", ""),
        ("cpus = 3", "1:1", "this machine offers 2", "[[job]]", "--cpus 2 is the most"),
        ("after = [77]", "1:1", "there is no job 77", "[[job]]", ""),
        ("stdin = \"fifo\"", "1:1", "standard input", "[[job]]", ""),
        ("[[job]]\nname = \"x\"", "4:1", "this job has no command", "[[job]]", "command = "),
        ("[[job]]\ncommand = []", "5:11", "a job needs a command", "[]", ""),
        ("[[job]]\ncommand = \" \"", "5:11", "a job needs a command", "\" \"", ""),
        ("[[job]]\ncommand = [\"a\", 3]", "5:17", "invalid type: integer `3`", "3", ""),
        ("[[job]]\ncommand = [\"a\\u0000\"]", "5:12", "NUL", "\"a\\u0000\"", ""),
        ("[[job]]\nname = \"prep\"", "5:8", "two jobs are named 'prep'; the other one is in line 1", "\"prep\"", ""),
        ("[defaults]\nname = \"x\"", "5:1", "each job has a name of its own", "name", "below [[job]]"),
        ("[defaults]\nline = \"x\"", "5:1", "a job has no 'line'", "line", ""),
        ("queue = \"Night\"", "4:9", "can not be the name of a queue", "\"Night\"", ""),
        ("queue = \"night\"", "1:1", "there is no queue 'night'", "[[job]]", "default"),
        ("[[defaults]]", "4:3", "'defaults' is one table", "defaults", "write [defaults] once"),
        ("[[jobs]]", "4:3", "a job file has no 'jobs'", "jobs", "did you mean [[job]]?"),
    ] {
        let said = submit(&world, format!("{one}{text}\n"));
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{text}: {said:?}");
        let (line, column) = place.split_once(':').unwrap();
        assert!(said.err.starts_with(&format!("qrm: jobs.toml:{place}: ")), "{text}: {}", said.err);
        assert!(said.err.contains(says) && said.err.contains(hint), "{text}: {}", said.err);
        // The line, and carets exactly from where it is wrong.
        let shown = said.err.lines().nth(1).unwrap().strip_prefix(&format!("  {line} | ")).unwrap().to_owned();
        let carets = said.err.lines().nth(2).unwrap().split_once("| ").unwrap().1;
        let at = column.parse::<usize>().unwrap() - 1;
        assert!(shown[at..].starts_with(part), "{text}: {}", said.err);
        assert!(carets.starts_with(&format!("{}^", " ".repeat(at))), "{text}: {}", said.err);
    }
    assert_eq!(count(&world), 0);
}

#[test]
fn a_dry_run_says_of_each_job_what_would_become_of_it_and_queues_none() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    world.submit("--hold --key known", "true");
    let text = "[defaults]\ncommand = \"true\"\nlabels = { team = \"a\", kind = \"x\" }\n\
        [[job]]\nname = \"last\"\nafter_ok = [\"first\", 1]\nafter_start = \"many.2\"\nany = true\n\
        [[job]]\nname = \"first\"\nlabels.kind = \"y\"\ndeadline = \"+2h\"\nqueue_timeout = \"1h\"\n\
        [[job]]\nname = \"many\"\narray = \"0-3\"\nafter = 1\n[[job]]\nkey = \"known\"\n";
    std::fs::write(world.dir().join("jobs.toml"), text).unwrap();
    let expected = "last would wait: after completion of first, start of many\nfirst would start at once\n\
        many would wait: after end of 1\nsh is known by its key: it is job 1\n";
    assert_eq!(world.run("submit --dry-run jobs.toml").ok(), expected);
    let rows = world.run("--json submit --dry-run jobs.toml").json();
    let told: Vec<_> = rows.as_array().unwrap().iter().map(|row| (&row["name"], &row["starts"])).collect();
    let (yes, no) = (&json!(true), &json!(false));
    assert_eq!(told, [(&json!("last"), no), (&json!("first"), yes), (&json!("many"), no), (&json!("sh"), no)]);
    assert_eq!(rows[1]["job"]["labels"], json!({"team": "a", "kind": "y"}));
    std::fs::write(world.dir().join("jobs.toml"), format!("{text}[[job]]\ncpus = 3\n")).unwrap();
    let said = world.run("submit --dry-run jobs.toml");
    assert!(said.code == 2 && said.err.starts_with("qrm: jobs.toml:20:1: 3 cpus are asked for"), "{said:?}");
    assert_eq!(count(&world), 1);
    std::fs::write(world.dir().join("jobs.toml"), text).unwrap();
    assert_eq!(world.run("submit jobs.toml").ok(), "4\n2\n3\n1\n");
    let first = world.show("2");
    assert_eq!(first["labels"], json!({"team": "a", "kind": "y"}));
    assert!(first["deadline"].is_string(), "{first}");
}

#[test]
fn a_circle_names_those_who_are_in_it() {
    let world = World::new();
    let job = |name: &str, after: &str| format!("[[job]]\nname=\"{name}\"\ncommand=\"true\"\nafter=[{after}]\n");
    let text = [job("free", ""), job("a", "\"free\",\"c\""), job("b", "\"a\""), job("c", "\"b\"")].concat();
    let said = submit(&world, text);
    assert!(
        said.err.starts_with("qrm: jobs.toml:8:15: jobs wait in a circle: 'a' for 'c' for 'b' for 'a'\n"),
        "{}",
        said.err
    );
    let ring: String = (0..40).map(|i| job(&format!("n{i}"), &format!("\"n{}\"", (i + 1) % 40))).collect();
    let said = submit(&world, ring);
    assert!(
        said.err.contains("40 jobs wait in a circle: 'n0' for 'n1'") && said.err.contains("and so on\n"),
        "{}",
        said.err
    );
    assert_eq!((said.code, count(&world)), (2, 0));
}

#[test]
fn what_is_no_job_file_is_refused() {
    let world = World::new();
    std::fs::create_dir(world.dir().join("dir.toml")).unwrap();
    std::fs::write(world.dir().join("fine.toml"), "[[job]]\ncommand = \"true\"\n").unwrap();
    for (bytes, says) in [
        (&b""[..], "jobs.toml holds no job"),
        (b"# nothing\n[defaults]\ncpus = 1\n", "jobs.toml holds no job"),
        (b"job = []", "jobs.toml holds no job"),
        (b"job = [1]", "jobs.toml:1:8: a job is a table"),
        (b"[job]\ncommand = 'x'", "jobs.toml:1:2: 'job' is a list of tables"),
        (b"command = 'x'", "jobs.toml:1:1: a job file has no 'command'"),
        (b"[[job]]\ncommand = \"a\0b\"", "jobs.toml:2:13: a NUL byte"),
        (b"[[job]]\ncommand = \"\xc5\xbe\xff\xfe\"\n", "jobs.toml:2:13: this is not UTF-8"),
        (b"\x7fELF\x02\x01\x01", "jobs.toml:1:"),
        (&[b'#'; (16 << 20) + 1], "is longer than 16 MiB"),
    ] {
        let said = submit(&world, bytes);
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{says}: {said:?}");
        assert!(said.err.contains(says), "{says}: {}", said.err);
        assert!(said.err.lines().all(|line| line.chars().count() <= 80 || !line.contains(" | ")), "{}", said.err);
    }
    for (args, says) in [
        (&["submit", "nowhere.toml"][..], "nowhere.toml can not be read: No such file"),
        (&["submit", "dir.toml"], "can not be read: Is a directory"),
        (&["submit", "--cpus", "2", "fine.toml"], "takes its options from its [defaults]"),
        (&["submit", "--hold", "fine.toml"], "takes its options from its [defaults]"),
        (&["submit", "--array", "0-1", "fine.toml"], "takes its options from its [defaults]"),
        (&["submit", "fine.toml", "--json"], "fine.toml is a job file, and takes no arguments"),
    ] {
        let said = world.qrm(args);
        assert!(said.code == 2 && said.err.contains(says), "{args:?}: {said:?}");
    }
    let said = world.run("--json submit jobs.toml").json();
    assert_eq!(said["error"]["code"], "RESOURCE_EXHAUSTED");
    submit(&world, "\n  x");
    let error = &world.run("--json submit jobs.toml").json()["error"];
    assert_eq!((&error["file"], &error["line"], &error["column"]), (&json!("jobs.toml"), &json!(2), &json!(4)));
    assert_eq!(count(&world), 0);
    // Behind -- it is a command like any other.
    assert_eq!(world.run("submit --hold -- fine.toml").ok(), "1\n");
    assert_eq!(world.show("1")["command"], json!(["fine.toml"]));
}

#[test]
fn of_a_hundred_thousand_jobs_the_last_may_be_wrong() {
    let world = World::new();
    let job = |i: usize| format!("[[job]]\nname = \"j{i}\"\ncommand = [\"true\", \"{i}\"]\nhold = true\n");
    let mut text: String = (0..100_000).map(job).collect();
    let good = text.len();
    text += "[[job]]\ncommand = \"x\"\nafter = \"j100000\"\n";
    let said = submit(&world, &text);
    assert_eq!((said.code, said.out.as_str()), (2, ""), "{said:?}");
    assert!(said.err.starts_with("qrm: jobs.toml:400003:9: no job of this file is named 'j100000'"), "{}", said.err);
    assert_eq!(count(&world), 0);
    // What only the daemon can know is found at the end as well, and leaves nothing.
    text.truncate(good);
    text += "[[job]]\ncommand = \"x\"\nafter = 7777777\n";
    let said = submit(&world, &text);
    assert!(said.err.starts_with("qrm: jobs.toml:400001:1: there is no job 7777777"), "{}", said.err);
    assert_eq!(count(&world), 0);
}
