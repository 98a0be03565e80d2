//! What a run needs, of what the store has of its job.
//! It refuses to read or make anything.

use crate::store::{LaunchText, parts};
use crate::supervise::{Input, Launch, Limits};
use crate::trace::Trace;
use qrm_core::{Run, Stage, Takes};
use qrm_protocol::job::{Expansion, Stdin};
use qrm_protocol::terminal::Size;
use qrm_protocol::text::OsText;
use qrm_shim::terminal::Window;

/// The run's own. Only the job's own command has its files; stages read nothing, and write into the job's directory. Where it
/// may go on later with what it saved, it has a place for that.
pub(super) fn of(run: Run, text: LaunchText, may_go_on: bool) -> Launch {
    let takes = text.takes.unwrap_or(Takes {
        cpus: text.cpus,
        mem_bytes: text.mem_bytes.unwrap_or(0),
        disk_bytes: text.options.disk_bytes.map_or(0, |disk| disk.0),
        ..Takes::default()
    });
    let some = |amount: u64| Some(amount).filter(|amount| *amount > 0);
    let own = run.stage == Stage::Execute;
    let expansion = Expansion { job: run.job, name: &text.name, user: &text.user, cwd: &text.cwd };
    let path = |pattern: Option<OsText>| pattern.filter(|_| own).map(|pattern| expansion.path(&pattern));
    let options = text.options;
    let stdin = match options.stdin {
        Stdin::File(pattern) if own => Input::File(expansion.path(&pattern)),
        // The first attempt reads what was typed or piped; there is nothing left of it for another one.
        _ if text.fifo && own && run.attempt == 1 => Input::Fifo,
        _ => Input::Null,
    };
    let (stdout, stderr) = (path(options.stdout), path(options.stderr));
    let shell =
        |command: Option<String>| vec![b"/bin/sh".to_vec(), b"-c".to_vec(), command.unwrap_or_default().into_bytes()];
    let trace = Trace::of(&text.environment, run.job, text.submitted_at, &text.user);
    let trace = trace.variable(run.job, run.stage, run.attempt).into_bytes();
    let (entries, rlimits) = parts(&text.environment);
    Launch {
        run,
        uid: text.uid,
        argv: match run.stage {
            Stage::Validate => shell(text.validate),
            Stage::Compile => shell(text.compile),
            Stage::Execute => text.command.into_iter().map(OsText::into_bytes).collect(),
        },
        // The last of a name counts.
        env: entries.map(<[u8]>::to_vec).chain([trace]).collect(),
        cwd: text.cwd.into_bytes(),
        umask: text.umask,
        rlimits,
        stdin,
        stdout,
        stderr,
        terminal: options.pty.filter(|_| own).map(window),
        limits: match own {
            true => Limits {
                cpus: takes.cpus,
                mem_bytes: some(takes.mem_bytes),
                pids: options.pids,
                hard: false,
                open_files: options.open_files,
                io_weight: options.io_weight,
                disk_bytes: some(takes.disk_bytes),
            },
            false => Limits::PLAIN,
        },
        script: text.script.filter(|_| own).map(String::into_bytes),
        outputs: if own { options.output } else { Vec::new() },
        checkpoint: own && may_go_on,
        ran: false,
    }
}

/// As a shim says it.
fn window(size: Size) -> Window {
    Window { rows: size.rows(), cols: size.cols() }
}

/// A command beside that of this run, which has no files and lists none.
pub(super) fn beside(
    run: Run,
    text: LaunchText,
    may_go_on: bool,
    command: Vec<OsText>,
    on: (Option<Size>, Option<String>),
) -> Launch {
    let job = of(run, text, may_go_on);
    let (pty, term) = on;
    // The last of a name counts.
    let term = term.filter(|_| pty.is_some()).map(|term| format!("TERM={term}").into_bytes());
    Launch {
        argv: command.into_iter().map(OsText::into_bytes).collect(),
        env: job.env.into_iter().chain(term).collect(),
        terminal: pty.map(window),
        stdin: Input::Null,
        stdout: None,
        stderr: None,
        script: None,
        outputs: Vec::new(),
        ..job
    }
}
