//! qrmd(8): its options from its own tree, and what it reads, writes and obeys.

use crate::roff::Page;

pub fn page() -> String {
    let mut command = qrm_daemon::command();
    command.build();
    let mut text = Vec::new();
    let man =
        clap_mangen::Man::new(command).section("8").title("QRMD").source(format!("qrm {}", env!("CARGO_PKG_VERSION")));
    man.render_title(&mut text).unwrap();
    man.render_name_section(&mut text).unwrap();
    man.render_synopsis_section(&mut text).unwrap();
    man.render_description_section(&mut text).unwrap();
    man.render_options_section(&mut text).unwrap();
    let mut page = Page::of(String::from_utf8(text).unwrap());
    page.section("HOW IT COMES AND GOES");
    page.text(
        "Nobody has to start it: `qrm` does with its first use, and a job that ends while no daemon runs does. `qrm daemon \
         stop` ends it, and from then on only `qrm daemon start` or another use of `qrm` starts it. Jobs go on meanwhile: \
         each is watched by a process of its own, `qrm-shim`, and what happened is taken up by the next daemon. To upgrade, \
         replace the three programs, which belong side by side in one directory, and say `qrm daemon reload --exec`: the new \
         daemon takes over in the same process. `qrm daemon install` has systemd run it, from login or from boot on.",
    );
    page.text(
        "There is one daemon for a state directory. A second one is refused, and told the process that holds it.",
    );
    page.section("ONE FOR ALL USERS");
    page.text(
        "`qrmd --system` is root's and serves everybody: each job runs as who submitted it, and qrm-security(7) says who may do \
         what. Its state is in `/var/lib/qrm`, its settings in `/etc/qrm/config.toml`, its socket at `/run/qrm/qrm.sock`, where \
         `qrm` finds it by itself; a user can still have a daemon of their own with QRM_STATE_DIR. All three places, and all \
         above them, have to be root's. `qrm` does not start it: systemd does, see `qrm daemon install --system`, or any other \
         init, with `--foreground`. It takes a socket from systemd (LISTEN_FDS), and tells it (NOTIFY_SOCKET) when it answers, \
         reloads and ends.",
    );
    page.section("UNDER SYSTEMD");
    page.text(
        "`qrm daemon install` writes units for a daemon of your own, `qrm daemon install --system` for that of the machine; a \
         package brings both. `qrmd.socket` listens while no daemon runs, and the first who asks has it started; with \
         `qrmd.service` enabled, too, what was queued goes on from boot on. `qrm-jobs.service` runs nothing: its control group \
         is delegated, and those of jobs are below it, so that the daemon is stopped, started and upgraded while they run. \
         Stopping any of these units ends no job.",
    );
    page.text(
        "A socket that is handed over (LISTEN_FDS, sd_listen_fds(3)) is served and left where it is. Who listens at \
         NOTIFY_SOCKET, sd_notify(3), is told when the daemon answers, reloads and ends, and is who starts it again: then no \
         job's end does.",
    );
    page.section("SIGNALS");
    for (signal, what) in SIGNALS {
        page.item(signal, "", what);
    }
    page.section("FILES");
    page.text(
        "All of it is in the state directory, with `--system` `/var/lib/qrm`, else `$XDG_STATE_HOME/qrm`, else `~/.local/state/qrm`; where that is on a network \
         file system, `/var/tmp/qrm-UID`. It is its owner's alone, and made so again at every start.",
    );
    for (file, what) in FILES {
        page.item(file, "", what);
    }
    page.text(
        "Settings are in `$XDG_CONFIG_HOME/qrm/config.toml`, else `~/.config/qrm/config.toml`; see qrm-config(5).",
    );
    page.section("ENVIRONMENT");
    for (name, what) in ENVIRONMENT {
        page.item(name, "", what);
    }
    page.section("EXIT STATUS");
    for (code, what) in [
        ("0", "It was told to end."),
        ("2", "An argument or a setting can not be meant, or another daemon holds the state directory."),
        ("4", "It failed; the last line of its log says why."),
    ] {
        page.item(code, "", what);
    }
    page.see_also(&[
        "qrmd-simulate(8)",
        "qrm(1)",
        "qrm-daemon(1)",
        "qrm-doctor(1)",
        "qrm-config(5)",
        "qrm-protocol(7)",
        "qrm-exit-codes(7)",
        "qrm-security(7)",
    ]);
    page.done()
}

const SIGNALS: [(&str, &str); 2] = [
    (
        "TERM, INT",
        "It answers no more calls, commits what it has decided, and ends. Jobs go on, and none of them starts it again.",
    ),
    ("HUP", "The settings are read again, as by `qrm daemon reload`; what is wrong with them is in the log."),
];

const FILES: [(&str, &str); 9] = [
    (
        "qrm.sqlite",
        "The database: every event, and jobs as rows. sqlite3(1) can read it at any time; nobody else writes it.",
    ),
    ("snapshot-SEQ", "What followed from the events up to a number, so that a start reads few of them; two are kept."),
    ("qrm.sock", "The socket. qrm-protocol(7) says what is spoken there."),
    (
        "jobs/",
        "The directories of jobs, by hundreds: `jobs/0/12`, and of tasks: `jobs/0/12/0/12.3`. In them are `stdout`, `stderr`, `qrm-checkpoint` with what a job saves for its next attempt, and what the job leaves there.",
    ),
    ("runs/", "The records that outlive the daemon: what was started, and how it ended."),
    (
        "qrmd.log",
        "What it has to say: ids and errors, never commands or environments. One of 4 MiB becomes `qrmd.log.1`.",
    ),
    ("qrmd.lock", "Locked by the daemon for as long as it lives."),
    ("start.lock", "Locked by who starts it, so that of several one does."),
    ("stopped", "It was ended on purpose; the next start removes this."),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    ("QRM_STATE_DIR", "The state directory, instead of the usual one; absolute."),
    ("XDG_STATE_HOME, XDG_CONFIG_HOME, HOME", "Where the usual ones are."),
    ("QRM_CONFIG", "The configuration, instead of the usual one; then it must be there."),
    ("QRM_SECTION_KEY", "A setting, as `QRM_HOST_CPUS` for `host.cpus`: it wins over the file. See qrm-config(5)."),
    ("QRM_LOG", "How much is logged: `error`, `warn`, `info`, which is usual, `debug` or `trace`."),
];

/// Every file that a daemon leaves in its state directory is on the page.
#[test]
fn every_file_of_a_state_directory_is_on_the_page() {
    let world = crate::world::World::new();
    let id = world.submit("", "echo output");
    world.ended(&id);
    world.run("daemon stop").ok();
    for entry in std::fs::read_dir(world.state()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let name = name.trim_end_matches("-wal").trim_end_matches("-shm");
        let known = FILES.iter().any(|(file, _)| file.trim_end_matches('/') == name || name.starts_with("snapshot-"));
        assert!(known, "{name} is not in qrmd(8)");
    }
}
