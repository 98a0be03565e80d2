//! Jobs run as their submitters, with what those have, and each user's are their own.

use crate::system::{ADAM, ALICE, BOB, LAB, ROOT, System, VERA, possible};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[test]
fn a_job_is_its_submitter_and_can_become_nobody_else() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let said = system
        .job(ALICE, "id -u; id -g; id -G; grep -c 'NoNewPrivs:.*1' /proc/self/status; grep CapEff /proc/self/status");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["61001", "61001"], "{said}");
    let mut groups: Vec<u32> = lines[2].split(' ').map(|group| group.parse().unwrap()).collect();
    groups.sort_unstable();
    assert_eq!(groups, [61_001, LAB], "the groups are those of the account, not of who submits");
    assert_eq!(lines[3..], ["1", "CapEff:\t0000000000000000"]);
    // A program that belongs to root and says so is not root's any more.
    let suid = system.at("suid");
    std::fs::copy("/usr/bin/id", &suid).unwrap();
    crate::system::open(&suid, 0o4755);
    assert_eq!(system.job(ALICE, &format!("{} -u", suid.display())), "61001\n");
    assert_eq!(system.job(ROOT, "id -u"), "0\n");
}

#[test]
fn a_job_has_the_limits_the_mask_the_directory_and_the_environment_of_who_submits() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let script = "ulimit -n 123; ulimit -c 7; umask 027; cd \"$HOME\"; mkdir -p sub; cd sub
        exec \"$QRM\" run -- sh -c 'ulimit -Hn; ulimit -c; umask; pwd; echo $MARK; echo $LD_PRELOAD; echo x >made'";
    let output = system.shell(ALICE, script).env("MARK", "mine").env("LD_PRELOAD", "/no/such.so").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let sub = system.home(ALICE).join("sub");
    let want = format!("123\n7\n0027\n{}\nmine\n/no/such.so\n", sub.display());
    assert_eq!(said, want, "{}", String::from_utf8_lossy(&output.stderr));
    let made = sub.join("made").metadata().unwrap();
    assert_eq!((made.uid(), made.gid(), made.mode() & 0o777), (ALICE.uid, ALICE.uid, 0o640));
}

#[test]
fn what_a_job_wrote_is_its_owners_alone() {
    if !possible() {
        return;
    }
    for privacy in ["open", "own"] {
        let config = format!("[users]\nadmins = [\"@qrm-admin\"]\nviewers = [\"vera\"]\nprivacy = \"{privacy}\"\n");
        only_the_owner_reads(&System::new(&config));
    }
}

fn only_the_owner_reads(system: &System) {
    let id =
        system.submit(ALICE, "--output r*", "echo secret; echo '{\"a\":1}' >$QRM_JOB_DIR/results.json; echo r >r1");
    let job = system.ended(ALICE, &id);
    assert_eq!(job["state"], "completed", "{job}");
    let dir = Path::new(job["dir"].as_str().unwrap());
    for path in [dir, &dir.join("stdout")] {
        let stat = path.symlink_metadata().unwrap();
        assert_eq!((stat.uid(), stat.gid(), stat.mode() & 0o077), (ALICE.uid, ALICE.uid, 0), "{}", path.display());
    }
    assert_eq!(system.run(ALICE, &format!("logs {id}")).ok(), "secret\n");
    assert!(system.run(ALICE, &format!("results {id}")).ok().contains("r1"));
    for other in [BOB, VERA, ADAM] {
        for verb in ["logs", "logs -f", "results", "trace"] {
            let said = system.run(other, &format!("{verb} {id}"));
            assert!(
                said.code == 2
                    && !said.out.contains("secret")
                    && said.err.contains("owner's alone") | said.err.contains("theirs alone"),
                "{verb}: {said:?}"
            );
        }
    }
}

#[test]
fn a_working_directory_is_entered_as_the_user() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let home = system.home(BOB);
    let id = system.submit(ALICE, &format!("--chdir {}", home.display()), "true");
    let job = system.ended(ALICE, &id);
    assert_eq!(job["state"], "failed");
    assert!(job["failure"]["message"].as_str().unwrap().contains("cannot enter the directory"), "{job}");
    for (option, file) in [("--stdout", "out"), ("--stderr", "err")] {
        let id = system.submit(ALICE, &format!("{option} {}", home.join(file).display()), "echo x");
        assert_eq!(system.ended(ALICE, &id)["state"], "failed", "{option}");
        assert!(!home.join(file).exists());
    }
    let secret = home.join("secret");
    std::fs::write(&secret, "of bob\n").unwrap();
    crate::system::open(&secret, 0o600);
    let id = system.submit(ALICE, &format!("--stdin {}", secret.display()), "cat");
    assert_eq!(system.ended(ALICE, &id)["state"], "failed");
}

#[test]
fn what_is_typed_reaches_the_job_of_a_user() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let output = system
        .shell(ALICE, "echo typed | \"$QRM\" run -- sh -c 'cat; ls -l $QRM_JOB_DIR/stdin | cut -c1-10; id -u'")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "typed\nprw-------\n61001\n", "{output:?}");
    let script = "printf '#!/bin/sh\\n#QRM --name its\\nid -u\\n' >s.sh; \"$QRM\" wait $(\"$QRM\" submit s.sh); \"$QRM\" logs name=its";
    let output = system.shell(ALICE, script).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("61001"), "{output:?}");
}

#[test]
fn each_user_s_jobs_go_on_without_the_daemon_and_are_found_again() {
    if !possible() {
        return;
    }
    let mut system = System::new("");
    let gate = system.gate("gate");
    let id = system.submit(ALICE, "", &format!("read x <{}; id -u; exit 7", gate.display()));
    system.executing(&id);
    let stop = std::fs::metadata(format!("/proc/{}", system.daemon())).unwrap().uid();
    assert_eq!(stop, 0);
    system.kill();
    std::fs::write(&gate, "go\n").unwrap();
    system.start();
    let job = system.ended(ALICE, &id);
    assert_eq!((job["exit_code"].as_i64(), job["user"].as_str()), (Some(7), Some("alice")), "{job}");
    assert_eq!(system.run(ALICE, &format!("logs {id}")).ok(), "61001\n");
}

#[test]
fn a_job_whose_user_is_gone_fails_and_says_so_and_one_that_runs_goes_on() {
    if !possible() {
        return;
    }
    let mut system = System::new("");
    let gate = system.gate("gate");
    let running = system.submit(ALICE, "", &format!("read x <{}; exit 3", gate.display()));
    system.executing(&running);
    let waiting = system.submit(ALICE, &format!("--after {running}"), "true");
    system.kill();
    system.write_users(&[BOB]);
    system.start();
    std::fs::write(&gate, "go\n").unwrap();
    assert_eq!(system.ended(ROOT, &running)["exit_code"], 3);
    let job = system.ended(ROOT, &waiting);
    assert_eq!(job["state"], "failed");
    assert!(job["failure"]["message"].as_str().unwrap().contains("no user with the number 61001 any more"), "{job}");
    let said = system.run(ALICE, "submit -- true");
    assert!(said.code == 2 && said.err.contains("no user with the number 61001"), "{said:?}");
    assert_eq!(system.job(BOB, "id -u"), "61002\n");
}

#[test]
fn who_sees_the_words_of_a_job_is_configured() {
    if !possible() {
        return;
    }
    for (privacy, seen_by_bob) in [("open", true), ("own", false)] {
        let config = format!("[users]\nadmins = [\"@qrm-admin\"]\nviewers = [\"vera\"]\nprivacy = \"{privacy}\"\n");
        let system = System::new(&config);
        let id = system.submit(ALICE, "--name hush --comment hush --label k=hush", "echo hush >&2; exit 3");
        let own = system.submit(BOB, "", "true");
        system.ended(ALICE, &id);
        system.ended(BOB, &own);
        for (user, sees) in [(ALICE, true), (VERA, true), (ADAM, true), (ROOT, true), (BOB, seen_by_bob)] {
            for line in [
                "--json show 1",
                "--json jobs --all",
                "--json status",
                "--json wait 1",
                "--json events --after 0",
                "jobs --all",
                "show 1",
            ] {
                let said = system.run(user, line);
                assert_eq!(said.out.contains("hush"), sees, "{privacy} {} {line}: {said:?}", user.name);
                assert!(line.contains("events") || said.out.contains("alice"), "whose it is, all know: {said:?}");
            }
            for filter in ["name=hush", "name~us", "command~hush", "comment=hush", "label.k=hush", "cwd~alice"] {
                let found = system.qrm(user, &["--json", "jobs", "--all", filter]).json();
                assert_eq!(found.as_array().unwrap().len(), usize::from(sees), "{privacy} {} {filter}", user.name);
            }
            // What is not there would be found by those who do not see it, if they could ask for that.
            let found = system.qrm(user, &["--json", "jobs", "--all", "name!=hush"]).json();
            assert_eq!(found.as_array().unwrap().iter().filter(|job| job["user"] == "alice").count(), 0);
        }
    }
}

#[test]
fn the_daemon_of_all_is_found_at_its_place_and_one_s_own_where_that_is_said() {
    if !possible() {
        return;
    }
    let system = System::new("");
    let script = "set -e
        mount -t tmpfs tmpfs /run
        exec 3< <(qrmd --system --state $DIR/other --config $DIR/config.toml --foreground --spawned 2>$DIR/other.log)
        read -r ready <&3
        as() { setpriv --reuid=61001 --regid=61001 --clear-groups env -i HOME=$DIR/alice PATH=$PATH \"$@\"; }
        cd $DIR/alice
        as qrm run -- id -u
        as qrm --json daemon status | grep -o '\"mode\":\"[a-z]*\"'
        as env QRM_STATE_DIR=$DIR/alice/own qrm --json daemon start | grep -o '\"mode\":\"[a-z]*\"'
        as env QRM_STATE_DIR=$DIR/alice/own qrm daemon stop
        ls -ld /run/qrm /run/qrm/qrm.sock | cut -c1-10
        qrm daemon stop
        test ! -e /run/qrm/qrm.sock";
    let own = system.programs();
    let mut shell = system.in_its_accounts(Path::new("bash"));
    shell.args(["-c", script]);
    let path = format!("{}:{}", own.display(), std::env::var("PATH").unwrap());
    let output = shell.env("DIR", system.dir()).env("PATH", path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let want = "61001\n\"mode\":\"system\"\n\"mode\":\"user\"\n";
    assert!(said.starts_with(want), "{said} {}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("drwxr-xr-x\nsrw-rw-rw-\n") && output.status.success(), "{output:?}");
    crate::world::remove_groups(&system.at("other"));
}
