//! qrm-security(7).

use crate::roff::Page;
use qrm_protocol::method::{NAMES, access};

pub fn page() -> String {
    let mut page =
        Page::new("qrm-security", 7, "who may do what with the daemon of all users, and what it answers to attacks");
    page.section("DESCRIPTION");
    page.text(
        "A daemon of one user's own (user mode) has a simple answer: its socket and all that it keeps are in a directory that \
         nobody else can enter, whoever else comes is refused by the number that the kernel says, and its jobs can do what its \
         user can. The rest of this page is about `qrmd --system`, the daemon of all users of a machine.",
    );
    page.section("WHO IS WHO");
    page.text(
        "The caller is who the socket says (SO_PEERCRED, unix(7)): the effective user of the process that connected. Nothing in \
         a message is believed about it. `qrm` asks the same of the other side: it talks to a daemon of root's or of its own \
         user's and to no other, wherever the socket is.",
    );
    for (who, what) in [
        (
            "owner",
            "Who submitted a job. It runs as that user, and nobody but the owner sees what it was given or wrote.",
        ),
        (
            "viewer",
            "Who `users.viewers` names, see qrm-config(5): sees the words of all jobs, and controls only their own.",
        ),
        (
            "administrator",
            "Root, and who `users.admins` names: controls the jobs of all, and the daemon. The output, files and environment of others' jobs are closed to administrators, too, unless they are root.",
        ),
    ] {
        page.item(who, "", what);
    }
    page.section("WHO MAY CALL WHAT");
    page.text(
        "Each call of qrm-protocol(7), by the owner of the job that it names, another user, a viewer and an administrator who do \
         not own it. Where it says `privacy`, all see that there is a job, whose it is, its state and what it takes; they see \
         its words, which are name, command, directories, labels, comment and messages, if `users.privacy` is `open`. A filter \
         finds by a word only who sees the word.",
    );
    let mut rows = format!("{:<16} {:<8} {:<8} {:<8} {}\n", "call", "owner", "other", "viewer", "admin");
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    for name in names {
        let [owner, other, viewer, admin] = access(name).expect("it is a call").of_each();
        rows += &format!("{name:<16} {owner:<8} {other:<8} {viewer:<8} {admin}\n");
    }
    page.example(&rows);
    page.text("Every change of a job is an event with the number of the user who made it, see `qrm events`.");
    page.section("WHAT ROOT DOES");
    for (who, what) in [
        (
            "qrmd",
            "Runs as root, without groups. It listens, decides, keeps the store (0600), makes control groups and the directory of each job, which it gives to the job's user. What it makes or reads in that directory, as the input, a script or output that is followed, it makes and reads with the rights of that user (setfsuid(2)), below descriptors of directories, and never through a link. Ended jobs are removed without following a link.",
        ),
        (
            "qrm-shim",
            "One for each job, a copy of a small program that was started once. Its real user stays root's, so that no user can signal, stop, trace or end it. It opens the logs as the user, and the process that becomes the job takes over the user's groups and numbers for good (setgroups, setresgid, setresuid) and `no_new_privs` before it enters the working directory or opens any file that the job names.",
        ),
        (
            "what never does",
            "The job's command, its validate and compile commands, and what lists its results run as the user. The environment of a job reaches those alone: no LD_PRELOAD of a user is ever in a process of root's.",
        ),
    ] {
        page.item(who, "", what);
    }
    page.section("WHAT A HOSTILE USER CAN TRY");
    for (what, answer) in THREATS {
        page.item(what, "", answer);
    }
    page.section("WHAT IT DOES NOT ANSWER");
    page.text(
        "A job can use the network, other users' world-readable files, and all else that its user can, also `at`, cron and \
         `systemd-run --user`, which lead out of it: it is no sandbox. Where \
         the kernel enforces no limits, `qrm doctor` says which are only watched or not kept at all. Who may write to the \
         directories of the programs, of the state, the configuration or the socket is root; that is checked for the latter \
         three at every start. Users that come from a network are looked up there, and believed for 30 seconds. \
         What users may say in a while, as how far a job is, is not bounded, but by `store.retention` and the disk: keep \
         `/var/lib/qrm` on one of its own where users are not trusted. Where users may mount file systems that others can enter \
         (`user_allow_other` in fuse.conf(5)), one that never answers in the place of a job's directory holds up the start of \
         jobs. Do not set `fs.suid_dumpable` to 1.",
    );
    page.see_also(&["qrmd(8)", "qrm-config(5)", "qrm-protocol(7)", "qrm-doctor(1)"]);
    page.done()
}

const THREATS: &[(&str, &str)] = &[
    (
        "Another user's job in a verb",
        "Refused by the table above, in one function of the core; a test makes every call as every kind of user.",
    ),
    (
        "A number in the message",
        "There is none that is read: the user, and the process whose limits a job gets, are the socket's.",
    ),
    (
        "More limits than one's own",
        "They are read of the submitting process; one that is gone, or another user's by then, can not submit.",
    ),
    (
        "Links, FIFOs and devices",
        "In place of the working directory, a log, a script or the job's own directory they are met with the user's own rights, after the change of the user, so that swapping them between check and use gains nothing: there is no check apart from the use. Logs have to be regular files.",
    ),
    (
        "The job's own records",
        "The plan is in memory, the records are in files below a directory of root's, open in the shim alone.",
    ),
    (
        "Signals, ptrace, SIGSTOP",
        "To the shim and the daemon they are refused by the kernel, whose rules ask for the real user.",
    ),
    ("Set-user-id programs", "`no_new_privs`: they run as the job's user."),
    (
        "Processes that hide",
        "A daemon of the job's stays in its control group, which is root's, and ends with the job.",
    ),
    (
        "Fork and memory bombs",
        "Each job has the limits that it was given in control groups, see qrm-submit(1) and `qrm doctor`; the shim is in none of them. `limits.pids` bounds who does not say, where version 2 is there by itself.",
    ),
    (
        "A flood of output, a full disk",
        "What a job leaves in its own directory is bounded by `limits.output`, a tenth of the disk unless that says otherwise, and its scratch directory by `--disk`; both are watched. A store that finds no room answers looks, refuses changes, and goes on when there is room.",
    ),
    (
        "Another's terminal or allocation",
        "`qrm attach` and `qrm exec` are for a job's owner and root. The daemon hands on a socket of the terminal, and never the terminal; what is executed becomes the job's user as the job did.",
    ),
    (
        "A flood of submits",
        "A user has at most `users.max_jobs` live jobs and 256 connections, each answered one call at a time; the others' calls are taken in turn. Of what takes long to look up, and of large frames, two are dealt with at a time for each user, and of signals one for each job.",
    ),
    (
        "A socket of one's own in its place",
        "The directory of the socket has to be root's, and so all above it; and `qrm` asks who serves it.",
    ),
    ("Terminal sequences in a name", "Control characters are printed as text, wherever qrm prints."),
    (
        "A user that is deleted",
        "Jobs that wait fail; those that run end as they would; their number stays that of their files.",
    ),
];
