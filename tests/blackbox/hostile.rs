//! What a hostile user of a shared machine can try to read, change or become, and what comes of it.
//! It refuses to leave anything behind: each attack is bounded, and stays in a world of its own.

use crate::system::{ADAM, ALICE, BOB, ROOT, System, open, possible};
use crate::world::Said;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

/// A file of root's that nobody else may read or change, and what is in it.
fn treasure(system: &System) -> std::path::PathBuf {
    let path = system.at("treasure");
    std::fs::write(&path, "gold").unwrap();
    open(&path, 0o600);
    path
}

#[test]
fn who_calls_is_not_said_in_the_message() {
    if !possible() {
        return;
    }
    let system = System::new("");
    for (more, refused) in [(r#""uid": 0"#, true), (r#""user": "root""#, true), (r#""name": "root""#, false)] {
        let line = format!("{{\"command\": [\"id\", \"-u\"], {more}}}");
        let script = format!("echo '{line}' | \"$QRM\" submit --bulk -");
        let said = Said::of(system.shell(BOB, &script).output().unwrap());
        assert_eq!(said.code != 0, refused, "{said:?}");
    }
    assert_eq!(system.ended(BOB, "1")["user"], "bob");
    assert_eq!(system.run(BOB, "logs 1").ok(), "61002\n");
}

#[test]
fn what_a_job_puts_in_the_place_of_its_logs_gains_it_nothing() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let treasure = treasure(&system);
    let gold = treasure.display();
    for place in [
        format!("ln -s {gold} $QRM_JOB_DIR/stdout"),
        "mkfifo $QRM_JOB_DIR/stdout".to_owned(),
        "mkdir $QRM_JOB_DIR/stdout".to_owned(),
    ] {
        // The second attempt finds what the first has put there.
        let script = format!("rm -f $QRM_JOB_DIR/stdout; {place}; exit 1");
        let id = system.submit(ALICE, "--retries 1", &script);
        let job = system.ended(ALICE, &id);
        assert_eq!((job["state"].as_str(), job["attempt"].as_i64()), (Some("failed"), Some(2)), "{job}");
        let said = system.run(ALICE, &format!("logs {id}"));
        assert!(!said.out.contains("gold"), "{said:?}");
        assert!(job["failure"]["message"].as_str().unwrap().contains("standard output"), "{job}");
    }
    // Over the socket root's own process reads: it does not follow, either.
    let id = system.submit(ALICE, "", &format!("rm $QRM_JOB_DIR/stdout; ln -s {gold} $QRM_JOB_DIR/stdout"));
    system.ended(ALICE, &id);
    let mut stream = UnixStream::connect(system.socket()).unwrap();
    let request =
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log.subscribe\",\"params\":{{\"id\":\"{id}\"}}}}\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    assert!(said.contains("not the file any more") && !said.contains("gold"), "{said}");
    assert_eq!(std::fs::read_to_string(&treasure).unwrap(), "gold");
    assert_eq!(treasure.metadata().unwrap().uid(), 0);
}

#[test]
fn links_in_a_job_s_own_directory_are_not_followed_when_it_is_tidied() {
    if !possible() {
        return;
    }
    let system = System::new("");
    // Something of root's with the names that are tidied away.
    let victim = system.at("victim");
    std::fs::create_dir(&victim).unwrap();
    for name in ["stdout", "stderr", ".qrm-script"] {
        std::fs::write(victim.join(name), "").unwrap();
    }
    let there = || std::fs::read_dir(&victim).unwrap().count();
    // The tasks of an array are below a directory that its validate command owns.
    let link = format!("ln -s {0} $QRM_JOB_DIR/0", victim.display());
    let id = system.qrm(ALICE, &["submit", "--array", "0-1", "--validate", &link, "--", "true"]).ok();
    assert_eq!(system.ended(ALICE, id.trim())["state"], "failed");
    let link = format!("mkdir $QRM_JOB_DIR/0; ln -s {0} $QRM_JOB_DIR/0/2.0", victim.display());
    let id = system.qrm(ALICE, &["submit", "--array", "0-1", "--validate", &link, "--", "true"]).ok();
    assert_eq!((id.trim(), system.ended(ALICE, id.trim())["state"].as_str()), ("2", Some("failed")));
    // The second one had a place of its own.
    assert_eq!(system.show(ALICE, "2.1")["state"], "completed");
    // What is forgotten is removed, and what its links lead to is not.
    let id = system.submit(
        ALICE,
        "",
        &format!(
            "ln -s {0} $QRM_JOB_DIR/link; mkdir $QRM_JOB_DIR/sub; ln -s / $QRM_JOB_DIR/sub/root",
            victim.display()
        ),
    );
    let dir = system.ended(ALICE, &id)["dir"].as_str().unwrap().to_owned();
    system.run(ROOT, "cleanup --older-than 0s").ok();
    assert!(!Path::new(&dir).exists());
    assert_eq!((there(), victim.metadata().unwrap().uid()), (3, 0));
}

#[test]
fn a_job_reaches_neither_its_shim_nor_the_daemon_nor_their_files() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let (state, daemon) = (system.state(), system.daemon());
    let state = state.display();
    for attack in [
        "kill -KILL $PPID",
        "kill -STOP $PPID",
        "cat /proc/$PPID/environ",
        "cat /proc/$PPID/mem",
        "ls /proc/$PPID/fd",
        "echo 1 >/proc/$PPID/oom_score_adj",
        // PTRACE_ATTACH and PTRACE_SEIZE, by their numbers.
        "P=$PPID perl -e 'exit(syscall(101, 16, $ENV{P} + 0, 0, 0) == 0 ? 0 : 1)' || exit 1",
        "P=$PPID perl -e 'exit(syscall(101, 16902, $ENV{P} + 0, 0, 0) == 0 ? 0 : 1)' || exit 1",
        &format!("kill -STOP {daemon}"),
        &format!("kill -KILL {daemon}"),
        &format!("cat /proc/{daemon}/environ"),
        &format!("ls {state}"),
        &format!("ls {state}/runs"),
        &format!("cat {state}/runs/0"),
        &format!("echo x >>{state}/runs/0"),
        &format!("cat {state}/qrm.sqlite"),
        &format!("touch {state}/jobs/x"),
        &format!("mv $QRM_JOB_DIR {state}/jobs/x"),
        &format!("rm {}", system.socket().display()),
    ] {
        let said = system.qrm(ALICE, &["run", "--", "sh", "-c", attack]);
        assert!(said.code != 0 && said.code < 124, "{attack}: {said:?}");
    }
    // Groups are left by their owner alone.
    let leave = "for f in $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs 2>/dev/null); do echo $$ >$f && echo $f; done; true";
    assert_eq!(system.job(ALICE, &format!("({leave}) 2>/dev/null")), "");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
}

#[test]
fn nothing_of_who_starts_the_daemon_or_submits_reaches_a_job_but_what_is_meant() {
    if !possible() {
        return;
    }
    let mut system = System::new("");
    system.kill();
    // A descriptor that whoever starts it has left open.
    let treasure = treasure(&system);
    let file = std::fs::File::open(&treasure).unwrap();
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
    system.start();
    drop(file);
    let said = system.job(ALICE, "ls -l /proc/self/fd | wc -l");
    // A total, the three of the job, and the one that lists them.
    assert_eq!(said, "5\n");
    let id = system.submit(ALICE, "", "echo $PPID; exec sleep 60");
    system.executing(&id);
    let shim = system.run(ALICE, &format!("logs {id}")).ok();
    let environ = std::fs::read(format!("/proc/{}/environ", shim.trim())).unwrap();
    assert_eq!(environ, b"", "a shim has no environment");
    let output = system
        .shell(ALICE, "LD_PRELOAD=/tmp/evil.so LD_AUDIT=/tmp/evil.so \"$QRM\" submit --output x -- true")
        .output()
        .unwrap();
    assert!(output.status.success());
    for pid in [system.daemon(), shim.trim().parse().unwrap()] {
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        assert!(!maps.contains("evil"), "{maps}");
    }
}

#[test]
fn a_place_that_somebody_else_made_first_is_not_taken() {
    if !possible() {
        return;
    }
    let mut system = System::new("");
    system.run(ROOT, "daemon stop").ok();
    system.stopped();
    let refused = |what: &str, says: &str| {
        let output = system.qrmd(&[]).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{what}: {said}");
    };
    let run = system.at("run");
    std::os::unix::fs::chown(&run, Some(ALICE.uid), None).unwrap();
    refused("a socket directory", "belongs to user 61001");
    std::os::unix::fs::chown(&run, Some(0), None).unwrap();
    open(&run, 0o777);
    refused("a socket directory that all write to", "can be written by others than root");
    open(&run, 0o755);
    let state = system.state();
    std::os::unix::fs::chown(&state, Some(ALICE.uid), None).unwrap();
    refused("a state directory", "belongs to user 61001");
    std::os::unix::fs::chown(&state, Some(0), None).unwrap();
    open(&system.at("config.toml"), 0o666);
    refused("a configuration", "can be written by others than root");
    open(&system.at("config.toml"), 0o644);
    std::fs::rename(&run, system.at("run.real")).unwrap();
    symlink(system.home(ALICE), &run).unwrap();
    refused("a link to a directory of another's", "belongs to user 61001");
    std::fs::remove_file(&run).unwrap();
    std::fs::rename(system.at("run.real"), &run).unwrap();
    system.start();
    assert_eq!(system.job(ALICE, "id -u"), "61001\n");
}

#[test]
fn qrm_gives_nothing_to_a_daemon_that_is_another_users() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let socket = system.at("trap.sock");
    let at = socket.clone();
    let (ready, is_ready) = std::sync::mpsc::channel();
    let trap = std::thread::spawn(move || {
        let uid = rustix::process::Uid::from_raw(BOB.uid);
        let listener = UnixListener::bind(&at).unwrap();
        open(&at, 0o666);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        // Who listens is who says so, not who made it.
        rustix::net::listen(&listener, 8).unwrap();
        ready.send(()).unwrap();
        let mut said = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut said).unwrap();
        said
    });
    is_ready.recv().unwrap();
    let mut submit = system.program(ALICE, Path::new("/bin/sh"));
    submit.args(["-c", "\"$QRM\" submit -- true"]).env("QRM_SOCKET", &socket).env("SECRET", "gold");
    let said = Said::of(submit.output().unwrap());
    assert!(said.code == 2 && said.err.contains("user 61002, and gets nothing of yours"), "{said:?}");
    assert_eq!(trap.join().unwrap(), b"");
}

#[test]
fn a_home_that_is_not_there_and_a_shell_that_is_none_stop_nobody() {
    if !possible() {
        return;
    }
    let system = System::new("");
    std::fs::remove_dir(system.home(BOB)).unwrap();
    let mut run = system.program(ROOT, Path::new("/bin/sh"));
    run.args(["-c", "\"$QRM\" run -- id -u"]).current_dir("/").env("HOME", system.home(BOB));
    std::os::unix::process::CommandExt::uid(&mut run, BOB.uid);
    assert_eq!(Said::of(run.output().unwrap()).ok(), "61002\n");
}

#[test]
fn sequences_in_the_words_of_a_job_reach_no_terminal_of_others() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[31m\u{9b}31m";
    let id = system.qrm(ALICE, &["submit", "--comment", "c", "--", "sh", "-c", "exit 3", evil]).ok();
    system.ended(ALICE, id.trim());
    let id = id.trim();
    for line in [
        format!("show {id}"),
        "jobs --all".to_owned(),
        "status".to_owned(),
        format!("wait {id}"),
        "events --after 0".to_owned(),
        format!("trace {id}"),
    ] {
        let said = system.run(ROOT, &line);
        let bad = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!bad(&said.out) && !bad(&said.err), "{line}: {said:?}");
    }
    let log = std::fs::read_to_string(system.at("log")).unwrap();
    assert!(!log.contains('\u{1b}'), "{log}");
    assert_eq!(system.socket().metadata().unwrap().permissions().mode() & 0o777, 0o666);
}

#[test]
fn a_working_directory_that_is_something_else_is_met_with_the_user_s_rights() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let closed = system.at("closed");
    std::fs::create_dir(&closed).unwrap();
    open(&closed, 0o700);
    let (link, fifo) = (system.at("link"), system.gate("fifo"));
    symlink(&closed, &link).unwrap();
    for place in [&link, &fifo, Path::new("/dev/null"), &treasure(&system), Path::new("/nowhere")] {
        let said = system.qrm(ALICE, &["run", "--chdir", place.to_str().unwrap(), "--", "true"]);
        assert!(matches!(said.code, 2 | 126), "{}: {said:?}", place.display());
    }
}

#[test]
fn what_is_swapped_while_jobs_start_leads_them_nowhere() {
    if !possible() {
        return;
    }
    let system = System::new("[host]\ncpus = 4\n");
    let closed = system.at("closed");
    std::fs::create_dir(&closed).unwrap();
    open(&closed, 0o700);
    // A directory, then a link to one of root's, as fast as a user can; the same for the place of the output.
    let flip = format!(
        "mkdir a; touch go; while [ -e go ]; do mv -T a way; mv -T way a; ln -sfn {0} way; rm -f way out; ln -s {0}/out out; rm -f out; done",
        closed.display()
    );
    let mut flipper = system.shell(ALICE, &flip).stderr(Stdio::null()).spawn().unwrap();
    let (way, out) = (system.home(ALICE).join("way"), system.home(ALICE).join("out"));
    let options = format!("--chdir {} --stdout {}", way.display(), out.display());
    let mut submitted = 0;
    for _ in 0..60 {
        let mut args = vec!["submit"];
        args.extend(options.split_whitespace());
        // Sometimes qrm itself finds no directory there.
        submitted +=
            i32::from(system.qrm(ALICE, &[&args[..], &["--", "sh", "-c", "echo x >made; pwd"]].concat()).code == 0);
    }
    system.run(ALICE, "wait state=live");
    std::fs::remove_file(system.home(ALICE).join("go")).unwrap();
    flipper.wait().unwrap();
    assert!(submitted > 0);
    assert_eq!(std::fs::read_dir(&closed).unwrap().count(), 0);
}

#[test]
fn a_script_that_an_attempt_has_replaced_is_made_anew_as_the_user() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let treasure = treasure(&system);
    let script = format!(
        "printf '#!/bin/sh\n#QRM --retries 1\necho $QRM_ATTEMPT; rm -f $QRM_JOB_DIR/.qrm-script; ln -s {0} $QRM_JOB_DIR/.qrm-script; exit 1\n' >s.sh
         \"$QRM\" submit s.sh",
        treasure.display()
    );
    let said = Said::of(system.shell(ALICE, &script).output().unwrap());
    let id = said.ok().trim().to_owned();
    assert_eq!(system.ended(ALICE, &id)["attempt"], 2);
    assert_eq!(system.run(ALICE, &format!("logs {id}")).ok(), "1\n2\n");
    assert_eq!(std::fs::read_to_string(&treasure).unwrap(), "gold");
    assert_eq!((treasure.metadata().unwrap().uid(), treasure.metadata().unwrap().mode() & 0o777), (0, 0o600));
}

#[test]
fn every_change_is_an_event_with_the_number_of_who_made_it() {
    if !possible() {
        return;
    }
    let system = System::new("[users]\nadmins = [\"@qrm-admin\"]\n");
    let waiting = system.submit(ALICE, "--hold", "true");
    let running = system.submit(ALICE, "", "exec sleep 60");
    system.executing(&running);
    for line in [
        format!("update {waiting} --comment x"),
        format!("release {waiting}"),
        format!("progress 0.5 --job {running}"),
        format!("suspend {running}"),
        format!("resume {running}"),
        format!("signal CONT {running}"),
        format!("cancel {running}"),
    ] {
        system.run(ADAM, &line);
    }
    let said = system.run(ALICE, "--json events --after 0").ok();
    let events: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for kind in ["released", "updated", "progress", "suspended", "resumed", "signalled", "stopping"] {
        let by: Vec<&Value> = events.iter().filter(|e| e["kind"] == format!("job.{kind}")).map(|e| &e["by"]).collect();
        assert_eq!(by, [&Value::from(ADAM.uid)], "job.{kind}");
    }
    let submitted = events.iter().filter(|event| event["kind"] == "job.submitted");
    assert!(submitted.into_iter().all(|event| event["user"] == ALICE.uid), "{said}");
}

/// What is preloaded into each program of a job: in qrm's own it makes a process that leaves its family.
const STOWAWAY: &str = r#"
    #include <string.h>
    #include <sys/wait.h>
    #include <unistd.h>
    extern char *program_invocation_short_name;
    __attribute__((constructor)) static void leave(void) {
        if (strcmp(program_invocation_short_name, "qrmd") != 0) return;
        if (fork() == 0) {
            setsid();
            char *argv[] = {"sleep", "76543", 0}, *envp[] = {0};
            if (vfork() == 0) execve("/bin/sleep", argv, envp);
            _exit(0);
        }
        wait(0);
    }
"#;

#[test]
fn a_process_made_while_outputs_are_listed_ends_with_the_job() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let (code, library) = (system.at("stowaway.c"), system.at("stowaway.so"));
    std::fs::write(&code, STOWAWAY).unwrap();
    let built = std::process::Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &code]).status();
    if !built.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: needs a C compiler, for a library that is preloaded");
    }
    open(&library, 0o755);
    let submit = format!("LD_PRELOAD={} \"$QRM\" submit --output x -- touch x", library.display());
    let id = Said::of(system.shell(ALICE, &submit).output().unwrap()).ok();
    assert_eq!(system.ended(ALICE, id.trim())["state"], "completed");
    let is_stowaway = |entry: &std::fs::DirEntry| {
        let text = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        text == b"sleep\x0076543\0" && entry.metadata().is_ok_and(|meta| meta.uid() == ALICE.uid)
    };
    let left = std::fs::read_dir("/proc").unwrap().flatten().find(is_stowaway);
    assert!(left.is_none(), "{left:?}");
}

#[test]
fn who_is_no_administrator_any_more_is_none_on_a_connection_of_before_either() {
    if !possible() {
        return;
    }
    let system = System::new("[users]\nadmins = [\"@qrm-admin\"]\n");
    let mut stream = BufReader::new(system.connections(ADAM, 1).remove(0));
    let mut asked = || {
        let request = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"config.show\",\"params\":{}}\n";
        stream.get_mut().write_all(request).unwrap();
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        line
    };
    assert!(asked().contains("settings"));
    std::fs::write(system.at("config.toml"), "").unwrap();
    system.run(ROOT, "daemon reload").ok();
    let said = asked();
    assert!(said.contains("PERMISSION_DENIED"), "{said}");
}

#[test]
fn a_directory_of_another_user_is_not_removed_with_the_job_that_has_moved_it_away() {
    if !possible() {
        return;
    }
    let system = System::new("");
    // Whoever may write to a directory may move it, and may not remove what is closed in it.
    let (open_to_all, secret) = (system.at("work/shared"), system.at("work/shared/closed"));
    std::fs::create_dir_all(&secret).unwrap();
    std::fs::write(secret.join("gold"), "").unwrap();
    for path in [&open_to_all, &secret] {
        std::os::unix::fs::chown(path, Some(ALICE.uid), None).unwrap();
    }
    open(&system.at("work"), 0o777);
    open(&open_to_all, 0o777);
    open(&secret, 0o700);
    let script = format!("rm -r {0} 2>/dev/null; mv {0} $QRM_JOB_DIR/loot && echo moved", open_to_all.display());
    let id = system.submit(BOB, "", &script);
    let dir = system.ended(BOB, &id)["dir"].as_str().unwrap().to_owned();
    assert_eq!(system.run(BOB, &format!("logs {id}")).ok(), "moved\n");
    system.run(ROOT, "cleanup --older-than 0s").ok();
    assert!(!Path::new(&dir).exists());
    let kept = system.state().join("jobs/.forgotten").join(&id).join("loot/closed/gold");
    assert!(kept.exists(), "{}", std::fs::read_to_string(system.at("log")).unwrap());
}
