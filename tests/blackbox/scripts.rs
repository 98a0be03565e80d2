//! Scripts with their options inside: `#QRM` lines, and what `#SBATCH` lines can mean here.
//! Everything that is left out is said on standard error, with its line.

use crate::world::{Said, World};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;

fn write(world: &World, text: impl AsRef<[u8]>) {
    std::fs::write(world.dir().join("job.sh"), text).unwrap();
}

/// Submits a script on hold; what was said, and the job.
#[track_caller]
fn held(world: &World, text: &str) -> (Said, Value) {
    write(world, text);
    let said = world.run("submit --hold job.sh");
    assert_eq!(said.code, 0, "{text}: {said:?}");
    let job = world.show(said.out.trim());
    (said, job)
}

#[test]
fn a_script_runs_with_its_options_and_the_command_line_wins() {
    let world = World::new();
    let text = "#!/bin/sh\n\n# A comment.\n#QRM --name 'in the script' --time 1h --env A=1 # why\n#QRM --retries 2\n\
        #QRM --comment=\"two words\" --env B=2 --after-start 1\r\n   # more\necho $A $B \"$@\"; pwd\n#QRM --time 3h\n";
    world.submit("", "true");
    write(&world, text);
    let said = world.run("submit --env B=3 --time 2h --after 1 job.sh");
    assert_eq!((said.code, said.out.as_str()), (0, "2\n"), "{said:?}");
    assert_eq!(said.err, "qrm: job.sh:9: warning: this #QRM line comes after the first command and is not read\n");
    let job = world.ended("2");
    let shown = ["name", "comment", "time_limit_ms", "retries", "state"].map(|key| job[key].clone());
    assert_eq!(shown, [json!("in the script"), json!("two words"), json!(7_200_000), json!(2), json!("completed")]);
    assert_eq!(world.run("logs 2").ok(), format!("1 3\n{}\n", world.dir().canonicalize().unwrap().display()));
    let said = world.run("--json --quiet submit job.sh");
    assert_eq!(said.json()["id"], "3");
    assert!(said.err.contains("job.sh:9: warning"), "{said:?}");
}

#[test]
fn only_one_operand_that_is_not_behind_dashes_is_a_script() {
    let world = World::new();
    write(&world, "#QRM --name scripted\necho\n");
    let script = world.dir().join("job.sh").canonicalize().unwrap();
    std::fs::write(world.dir().join("plain"), "#!/bin/sh\necho\n#SBATCH -c 2\n").unwrap();
    std::fs::write(world.dir().join("binary"), b"\x7fELF\n#QRM --name x\n").unwrap();
    std::os::unix::fs::symlink("/dev/zero", world.dir().join("endless")).unwrap();
    for (line, name, warns) in [
        ("submit --hold job.sh", "scripted", false),
        ("submit --hold job.sh more", "job.sh", false),
        ("submit --hold -- job.sh", "job.sh", false),
        ("submit --hold plain", "plain", true),
        ("submit --hold binary", "binary", false),
        ("submit --hold endless", "endless", false),
        ("submit --hold nowhere.sh", "nowhere.sh", false),
        ("submit --hold .", ".", false),
    ] {
        let said = world.run(line);
        assert_eq!(world.show(said.out.trim())["name"], name, "{line}");
        assert_eq!(!said.err.is_empty(), warns, "{line}: {said:?}");
    }
    let mut whole = world.program("qrm");
    whole.args(["submit", "--name", "by path"]).arg(&script).current_dir("/");
    let id = String::from_utf8(whole.output().unwrap().stdout).unwrap();
    assert_eq!(world.ended(id.trim())["name"], "by path");
}

#[test]
fn a_script_needs_no_interpreter_and_no_right_to_be_executed() {
    let world = World::new();
    for (first, mode) in [("#!/bin/sh", 0o755), ("#!/bin/sh", 0o644), ("#", 0o644), ("#!/usr/bin/env -S sh -e", 0o600)]
    {
        write(&world, format!("{first}\n#QRM --priority low\necho ran\n"));
        std::fs::set_permissions(world.dir().join("job.sh"), std::fs::Permissions::from_mode(mode)).unwrap();
        let id = world.run("submit job.sh").ok().trim().to_owned();
        let job = world.ended(&id);
        assert_eq!(
            (&job["state"], &job["name"], &job["priority"]),
            (&json!("completed"), &json!("job.sh"), &json!(25))
        );
        assert_eq!(world.run(&format!("logs {id}")).ok(), "ran\n", "{first}");
    }
}

#[test]
fn what_becomes_of_the_file_after_the_submit_changes_nothing() {
    let world = World::new();
    write(&world, "#QRM --array 0-1\necho before\n");
    let id = world.run("submit --hold job.sh").ok().trim().to_owned();
    assert_eq!(world.show(&id)["command"], json!([world.dir().join("job.sh").to_str()]));
    write(&world, "#QRM --array 0-1\necho after\n");
    let second = world.run("submit --hold job.sh").ok().trim().to_owned();
    std::fs::remove_file(world.dir().join("job.sh")).unwrap();
    world.run("daemon stop").ok();
    world.run(&format!("release {id} {second}")).ok();
    for (id, said) in [(id, "before\n"), (second, "after\n")] {
        assert_eq!(world.ended(&id)["state"], "completed");
        assert_eq!(world.run(&format!("logs {id}.1")).ok(), said);
    }
}

#[test]
fn a_dry_run_of_a_script_says_what_would_become_of_it() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    write(&world, "#SBATCH -c 2 -p gpu\n#QRM --begin +1h\n");
    let said = world.run("submit --dry-run job.sh");
    assert!(said.out.starts_with("job.sh would wait: begins "), "{said:?}");
    assert!(said.err.contains("job.sh:1: warning: -p gpu is left out"), "{said:?}");
    assert_eq!(world.run("--json submit --dry-run job.sh").json()["job"]["cpus"], 2);
    write(&world, "#QRM --cpus 3\n");
    assert!(world.run("submit --dry-run job.sh").err.starts_with("qrm: job.sh:1:6: 3 cpus are asked for"));
    assert_eq!(world.run("--json jobs --all").json(), json!([]));
}

#[test]
fn when_of_a_script_is_that_of_the_job_that_it_is() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    write(&world, "#QRM --begin +1h --cpus 2\n");
    let would = world.run("--json when job.sh").json();
    assert_eq!(would["reasons"][0]["code"], "begin", "{would}");
    // The command line wins, and what is behind -- is a command.
    assert!(world.run("when --cpus 3 job.sh").err.starts_with("qrm: 3 cpus are asked for"));
    assert_eq!(world.run("when -- job.sh").ok().lines().next(), Some("it would start at once"));
    write(&world, "#QRM --cpus 3\n");
    let said = world.run("when job.sh");
    assert!(said.code == 2 && said.err.starts_with("qrm: job.sh:1:6: 3 cpus are asked for"), "{said:?}");
    let said = world.run("when pipeline.toml");
    assert_eq!(
        (said.code, said.err.as_str()),
        (
            2,
            "qrm: pipeline.toml is a job file, and when answers for one job\n  \
             hint: qrm submit --dry-run pipeline.toml says it of all\n"
        )
    );
    assert_eq!(world.run("--json jobs --all").json(), json!([]));
}

#[test]
fn what_is_wrong_in_a_line_is_shown_where_it_stands() {
    let world = World::with(&[("QRM_HOST_CPUS", "2")]);
    for (text, place, says, hint) in [
        ("#QRM --cpsu 2", "1:6", "unexpected argument '--cpsu'", "'--cpus'"),
        ("#QRM --time 9x", "1:13", "'9x' is not a duration", ""),
        ("#QRM --name=9x --time=9x", "1:23", "'9x' is not a duration", ""),
        ("#!/bin/sh\n#QRM --cpus 1\n#QRM --mem 1G --cpus 2", "3:15", "cannot be used multiple times", ""),
        ("#QRM python train.py", "1:6", "unexpected argument 'python'", ""),
        ("#QRM --cpus 1 --json", "1:15", "unexpected argument '--json'", ""),
        ("#QRM --bulk jobs", "1:6", "unexpected argument '--bulk'", ""),
        ("#QRM --name 'a b", "1:6", "ends within quotes or after a backslash", ""),
        ("#QRM --cpus 1 \\\n#QRM --name x", "1:6", "ends within quotes or after a backslash", ""),
        ("#QRM --name\n#QRM other", "1:6", "a value is required for '--name", ""),
        ("#QRM --any", "1:6", "--any without a dependency", "add --after"),
        ("#QRM --priority low --retry-on oom", "1:21", "--retry-on without --retries", ""),
        ("#QRM --chdir nowhere", "1:6", "No such file", ""),
        ("#QRM --env NOPE", "1:6", "there is no such variable here", ""),
        ("#QRM --name ''", "1:6", "the name is empty", ""),
        ("\n\n#QRM --cpus 3", "3:6", "this machine offers 2", "--cpus 2 is the most"),
        ("#QRM --cpus 1 --after 77", "1:23", "there is no job 77", ""),
        ("#QRM --cpus 1\n# \u{fffd}", "", "", ""),
        ("#SBATCH -c 3", "1:9", "this machine offers 2", ""),
        ("#SBATCH -c none", "1:12", "'none' is not a number from 1 on", ""),
        ("#SBATCH --time=abc", "1:16", "'abc' is not a time limit", ""),
        ("#SBATCH --time", "1:9", "--time needs a value", ""),
        ("#SBATCH --array=1,3,7", "1:17", "not one range with a step", ""),
        ("#SBATCH --mem=4Q", "1:15", "'4Q' is not a size", ""),
        ("#SBATCH -d afterok:1,before:2", "1:12", "'before:2' is not a dependency", ""),
        ("#SBATCH -d afterok:77", "1:20", "there is no job 77", ""),
        ("#SBATCH --begin=soon", "1:17", "'soon' is not a time", ""),
        ("#SBATCH --signal=NOPE@1", "1:18", "'NOPE@1' is not a signal", ""),
        ("#SBATCH --nice=very", "1:16", "'very' is not a number", ""),
        ("#SBATCH -D nowhere", "1:9", "No such file", ""),
        ("#SBATCH -J 'x", "1:9", "ends within quotes or after a backslash", ""),
    ] {
        write(&world, format!("{text}\ntrue\n"));
        let said = world.run("submit job.sh");
        if place.is_empty() {
            said.ok();
            continue;
        }
        assert_eq!((said.code, said.out.as_str()), (2, ""), "{text}: {said:?}");
        assert!(said.err.starts_with(&format!("qrm: job.sh:{place}: ")), "{text}: {}", said.err);
        assert!(said.err.contains(says) && said.err.contains(hint), "{text}: {}", said.err);
        assert!(said.err.lines().nth(2).unwrap().trim_start().starts_with("| "), "{text}: {}", said.err);
        assert!(!said.err.contains("Usage"), "{text}: {}", said.err);
    }
    // What the command line says is not the script's mistake.
    write(&world, "#QRM --cpus 1\n");
    assert!(world.run("submit --cpus 3 job.sh").err.starts_with("qrm: 3 cpus are asked for"));
    write(&world, b"#QRM --cpus 1\necho \xff\n");
    assert!(world.run("submit job.sh").err.starts_with("qrm: job.sh:2:6: this is not UTF-8"));
    write(&world, ["#QRM --cpus 1\n", &"x".repeat(512 << 10)].concat());
    assert!(world.run("submit job.sh").err.contains("is longer than 512 KiB"));
    write(&world, "#QRM --cpus 1\necho \0\n");
    assert!(world.run("submit job.sh").err.starts_with("qrm: job.sh:2:6: a NUL byte"));
    write(&world, "#!/bin/sh\r\n#QRM --cpus 1\r\necho\r\n");
    assert!(world.run("submit job.sh").err.starts_with("qrm: job.sh:1:1: the lines end as on Windows"));
    write(&world, "#QRM --time 9x\n");
    let error = &world.run("--json submit job.sh").json()["error"];
    assert_eq!((&error["file"], &error["line"], &error["column"]), (&json!("job.sh"), &json!(1), &json!(13)));
    assert_eq!(world.run("--json jobs --all").json().as_array().unwrap().len(), 1);
}

#[test]
fn slurms_options_become_those_that_mean_the_same() {
    let world = World::with(&[("QRM_HOST_CPUS", "16"), ("FROM_HERE", "here")]);
    world.submit("--hold --array 0-9", "true");
    world.run("queue set night").ok();
    std::fs::create_dir(world.dir().join("sub")).unwrap();
    let limit = |seconds: i64| json!(seconds * 1_000);
    for (lines, key, value) in [
        ("--job-name=train", "name", json!("train")),
        ("-J 'two words'", "name", json!("two words")),
        ("--comment=\"for Ann\"", "comment", json!("for Ann")),
        ("-c 4", "cpus", json!(4)),
        ("-c4 -n 2", "cpus", json!(8)),
        ("--ntasks=1 --nodes=1", "cpus", json!(1)),
        ("--mem=400", "mem_bytes", json!(400 << 20)),
        ("--mem-per-cpu=10M -c 3", "mem_bytes", json!(30 << 20)),
        ("--tmp=400", "disk_bytes", json!(400 << 20)),
        ("--tmp=1G --tmp 0", "disk_bytes", json!(null)),
        ("-t 90", "time_limit_ms", limit(5_400)),
        ("--time=1-12:30", "time_limit_ms", limit(131_400)),
        ("--time 10:00 --time=20:00", "time_limit_ms", limit(1_200)),
        ("-t 1:00:00 --signal=USR1@120", "time_limit_ms", limit(3_480)),
        ("-t 0", "time_limit_ms", json!(null)),
        ("--array=1,3,5%2", "tasks", json!(3)),
        ("-D sub", "cwd", json!(world.dir().join("sub").to_str())),
        ("--nice", "priority", json!(25)),
        ("--nice=0", "priority", json!(50)),
        ("--nice --nice=0", "priority", json!(50)),
        ("--requeue", "retries", json!(3)),
        ("--requeue --no-requeue", "retries", json!(0)),
        ("--dependency=afterok:1_3", "after", json!(["completion of 1.3"])),
        ("-d afterany:1,after:1_0", "after", json!(["end of 1", "start of 1.0"])),
        ("-a 0-3 -d aftercorr:1", "after", json!(["completion of 1.*"])),
        ("--exclusive", "exclusive", json!(true)),
        ("--exclusive --oversubscribe", "exclusive", json!(false)),
        ("-p gpu,night", "queue", json!("night")),
        ("--deadline=2099-01-20T12:34:00", "deadline", json!("2099-01-20T12:34:00.000Z")),
        ("--begin=2099-01-20T12:34:00", "begin_at", json!("2099-01-20T12:34:00.000Z")),
    ] {
        let (said, job) = held(&world, &format!("#SBATCH {lines}\ntrue\n"));
        let shown = match key {
            "tasks" => job["tasks"]["total"].clone(),
            key => job[key].clone(),
        };
        assert_eq!(shown, value, "{lines}: {said:?} {job}");
    }
    // Its own lines win over Slurm's, and the command line over both.
    let (_, job) = held(&world, "#QRM --cpus 2 --mem 1G\n#SBATCH -c 4 --mem=3G --time=5\ntrue\n");
    assert_eq!((&job["cpus"], &job["mem_bytes"], &job["time_limit_ms"]), (&json!(2), &json!(1 << 30), &limit(300)));
    // Both streams go to one file unless there are two, and the input is a file as well.
    std::fs::write(world.dir().join("in"), "read\n").unwrap();
    write(&world, "#SBATCH -J two/words -o %x.%j_%a -i in -a 3-4\ncat; echo err >&2\n");
    let id = world.run("submit job.sh").ok().trim().to_owned();
    world.ended(&id);
    let name = format!("two_words.{id}_3_3");
    assert_eq!(std::fs::read_to_string(world.dir().join(name)).unwrap(), "read\nerr\n");
    write(&world, "#SBATCH --output=out.%j --error=err.%j\necho out; echo err >&2\n");
    let id = world.run("submit job.sh").ok().trim().to_owned();
    world.ended(&id);
    let both = ["out", "err"].map(|name| std::fs::read_to_string(world.dir().join(format!("{name}.{id}"))).unwrap());
    assert_eq!(both, ["out\n", "err\n"]);
    write(&world, "#SBATCH --export=FROM_HERE,OWN=own,NOT_HERE\necho $FROM_HERE $OWN ${QRM_HOST_CPUS-clean}\n");
    let said = world.run("submit job.sh");
    assert!(said.err.contains("NOT_HERE is left out"), "{said:?}");
    let id = said.ok().trim().to_owned();
    world.ended(&id);
    assert_eq!(world.run(&format!("logs {id}")).ok(), "here own clean\n");
    // The last one is what counts, of all that it can say.
    write(
        &world,
        "#SBATCH --export=FROM_HERE,OWN=own\n#SBATCH --export=ALL\necho $FROM_HERE $OWN ${QRM_HOST_CPUS-clean}\n",
    );
    let id = world.run("submit job.sh").ok().trim().to_owned();
    world.ended(&id);
    assert_eq!(world.run(&format!("logs {id}")).ok(), "here 16\n");
}

#[test]
fn what_slurm_means_and_qrm_can_not_is_a_warning_with_its_line() {
    let world = World::new();
    world.submit("--hold", "true");
    for (line, says) in [
        ("--gres=gpu:2", "--gres=gpu:2 is left out: GPUs are not counted yet"),
        ("-G 1", "-G 1 is left out: GPUs are not counted yet"),
        ("-p gpu", "-p gpu is left out: the queues here are default"),
        ("--mail-type END", "--mail-type=END is left out: no mail"),
        ("--nodes=2", "--nodes=2 is left out: there is one machine"),
        ("-n 2", "--ntasks=2: the script runs once"),
        ("--mem=0", "--mem=0 is left out"),
        ("--exclusive=user", "--exclusive=user is --exclusive here: nothing at all runs beside it"),
        ("-d aftercorr:1", "aftercorr:1 is afterok:1 here, for this is no array"),
        ("--nice=-5", "--nice=-5 is left out"),
        ("--signal=B:USR1@60", "--signal=B:USR1@60 reaches all processes"),
        ("-d singleton", "-d singleton: singleton is left out"),
        ("--jobname=x", "--jobname=x is left out: it is not known; did you mean --job-name?"),
        ("--frobnicate y -J x", "--frobnicate is left out: it is not known"),
        ("-? x", "-? is left out: it is not known"),
        ("-o %4j.out", "%4j.out: numbers are not padded here"),
        ("--output=%Q", "%Q: %Q stands for nothing here"),
        ("--open-mode=truncate", "--open-mode=truncate is left out: its files are appended to"),
        ("-Hv", "'v' of -Hv is left out: -H takes no value"),
        ("--hold=no", "'no' of --hold=no is left out: --hold takes no value"),
        ("nonsense", "nonsense is left out: it is not an option"),
    ] {
        let (said, _) = held(&world, &format!("#!/bin/sh\n#SBATCH {line}\ntrue\n"));
        assert!(said.err.starts_with(&format!("qrm: job.sh:2: warning: {says}")), "{line}: {said:?}");
        assert_eq!(said.err.lines().count(), 1, "{line}: {said:?}");
    }
    let text =
        "#SBATCH -J x\necho $SLURM_JOB_ID ${SLURM_JOB_ID} $SLURM_NNODES $MY_SLURM_X\n#SBATCH -c 2\n#SBATCH -c 3\n";
    let (said, _) = held(&world, text);
    let expected = "qrm: job.sh:3: warning: this #SBATCH line, and 1 more, comes after the first command and is not read\n\
        qrm: job.sh:2: warning: SLURM_JOB_ID is not set; it is QRM_JOB_ID here\n\
        qrm: job.sh:2: warning: SLURM_NNODES is not set\n";
    assert_eq!(said.err, expected);
    // No mark, no word.
    let (said, _) =
        held(&world, "#SBATCH --no-kill --nodes=1-1 -n1 --parsable -Q\n# SBATCH -p x\n##SBATCH -p x\ntrue\n");
    assert_eq!(said.err, "");
}
