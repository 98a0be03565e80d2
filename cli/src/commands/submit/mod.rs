//! `qrm submit`: queues a command, a script with its options inside, or many jobs from a file, and prints ids.
//! It refuses to wait for them.

mod bulk;
mod entry;
mod file;
mod names;
mod sbatch;
mod script;
mod sending;

use super::offer;
use super::spec::{Options, check, context};
use crate::Context;
use crate::complete::{command, file as file_path};
use crate::render::Tone;
use crate::render::excerpt::Fault;
use qrm_protocol::error::Error;
use qrm_protocol::job::{ArraySpec, JobSpec, JobState};
use qrm_protocol::method::{Empty, JobSubmit, QueueList, SubmitParams};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Queue a command and print its id.
///
/// The job runs in the current directory with the current environment. Its output goes to `stdout` and `stderr` in its own
/// directory; `qrm logs ID` shows it.
///
/// A single operand that is not behind `--` may be a file instead. If its name ends in .toml it is a job file, with many
/// jobs. If its first comment lines hold one that begins with #QRM or #SBATCH, it is a script with its options inside. With
/// further operands, or behind `--`, it is a command like any other.
///
/// JOB FILES
///
/// Each `[[job]]` has the options of submit as keys, with _ for -, and a `command`: a list of words, or a text for /bin/sh.
/// `[defaults]` has what all jobs have that do not say otherwise; variables of both are put together. after, after_ok,
/// after_fail and after_start take a list of jobs, by the `name` of one in the same file (NAME.3 is a task of an array, and
/// NAME.* for each task of another array that with its index), else by id. `or` is a list of tables such as
/// { cpus = 2, mem = "8G" }. The file is queued as a whole or not at all, each job after those that it waits for.
///
/// SCRIPTS
///
/// A comment line before the first command that begins with #QRM holds options as they are written on the command line.
/// Those given on the command line win. What runs is a copy, so that what becomes of the file later changes nothing; it
/// needs neither the right to be executed nor #!, without which /bin/sh runs it.
///
/// Lines that begin with #SBATCH are taken as well, if there is something here that they can mean; #QRM wins over them.
/// --dependency after is --after-start, afterany is --after, aftercorr:12 is --after-ok 12.*. --partition is the first of the
/// queues named that there is here. --signal USR1@60 is --signal USR1 --grace 60s and that much
/// less --time. --output is --stdout, and --stderr as well if there is no --error; files are appended to. --requeue is
/// --retries 3 --retry-on lost,preempted. A --nice above 0 is --priority low. A warning names each option that can not be
/// meant; a value that is wrong is an error.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm submit -- python train.py --lr 0.1\n  qrm submit --cpus 2 --mem 8G --time 2h -- make -j2\n  \
    qrm submit --array 0-99%4 -- sh -c './step $QRM_ARRAY_INDEX'\n  qrm submit --after-ok 12 -- ./collect\n  \
    qrm submit pipeline.toml            # [[job]] name = \"prep\" command = \"./prep\" …\n  \
    qrm submit --time 1h job.sh         # with lines such as #QRM --cpus 4 --mem 8G\n  \
    qrm submit --bulk jobs.jsonl        # lines such as {\"command\": [\"make\"], \"cpus\": 2, \"time\": \"1h\"}"
)]
pub(crate) struct Args {
    #[command(flatten)]
    asked: Asked,
    /// Only say what would become of it.
    #[arg(long)]
    dry_run: bool,
    /// Read jobs from a file of JSON lines (- is standard input): all of them are queued, or none.
    #[arg(long, value_name = "FILE", add = file_path(), conflicts_with_all = ["command", "array", "hold"])]
    bulk: Option<PathBuf>,
    /// The program and its arguments; or a job file or a script, if it is alone and not behind --.
    #[arg(value_name = "COMMAND", required_unless_present = "bulk", trailing_var_arg = true, add = command())]
    command: Vec<OsString>,
}

/// What describes a job that is submitted, also in a line of a script.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    #[command(flatten)]
    options: Options,
    /// Make it an array: a task for each index A to B, every STEP, at most N at once; QRM_ARRAY_INDEX tells which.
    #[arg(long, value_name = "A-B[:STEP][%N]")]
    array: Option<ArraySpec>,
    /// Queue it on hold.
    #[arg(long)]
    hold: bool,
}

impl Asked {
    fn is_any(&self) -> bool {
        self.options.is_any() || self.array.is_some() || self.hold
    }

    /// These, and of the others what these do not say.
    fn over(self, others: Self) -> Self {
        Self {
            options: self.options.over(others.options),
            array: self.array.or(others.array),
            hold: self.hold || others.hold,
        }
    }

    pub(super) fn spec(self, command: Vec<OsString>) -> Result<JobSpec, Error> {
        let job = self.options.spec(command, self.array)?;
        Ok(JobSpec { hold: self.hold, ..job })
    }
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    submit(context, args).or_else(|fault| Ok(fault.report(&context.out)))
}

fn submit(context: &Context, args: Args) -> Result<u8, Fault> {
    if let Some(file) = args.bulk {
        if args.asked.is_any() {
            return Err(Error::invalid("--bulk takes its options from the lines of the file")
                .hint("write them there, as in {\"command\": [\"make\"], \"cpus\": 2}")
                .into());
        }
        return Ok(bulk::submit(context, &file, args.dry_run)?);
    }
    match operand(context, &args.command)? {
        Operand::JobFile(path) if args.asked.is_any() => {
            let shown = path.display();
            Err(Error::invalid(format!("{shown} is a job file, and takes its options from its [defaults]"))
                .hint(format!("write them there; or -- before {shown} makes it a command"))
                .into())
        }
        Operand::JobFile(path) => file::submit(context, &path, args.dry_run),
        Operand::Script(script) => {
            let job = script.job(args.asked)?;
            one(context, job.spec, job.dry_run || args.dry_run).map_err(|error| job.source.locate(error))
        }
        Operand::Command => Ok(one(context, args.asked.spec(args.command)?, args.dry_run)?),
    }
}

/// Asks something of the one job that operands describe as those of submit do. What is wrong is shown where a script says it.
pub(super) fn of_one<T>(
    context: &Context,
    asked: Asked,
    command: Vec<OsString>,
    ask: impl FnOnce(JobSpec) -> Result<T, Error>,
) -> Result<T, Fault> {
    match operand(context, &command)? {
        Operand::JobFile(path) => {
            let shown = path.display();
            Err(Error::invalid(format!("{shown} is a job file, and when answers for one job"))
                .hint(format!("qrm submit --dry-run {shown} says it of all"))
                .into())
        }
        Operand::Script(script) => {
            let job = script.job(asked)?;
            ask(job.spec).map_err(|error| job.source.locate(error))
        }
        Operand::Command => Ok(ask(asked.spec(command)?)?),
    }
}

/// What the operands of submit are.
enum Operand {
    JobFile(PathBuf),
    Script(Box<script::Script>),
    Command,
}

fn operand(context: &Context, words: &[OsString]) -> Result<Operand, Fault> {
    let queues = || {
        let reply = context.connect()?.call::<QueueList>(&Empty {})?;
        Ok(reply.queues.into_iter().map(|queue| queue.name).collect())
    };
    let Some(first) = words.first().filter(|_| !behind_dashes(words.len())) else { return Ok(Operand::Command) };
    let path = Path::new(first);
    if first.as_bytes().ends_with(b".toml") {
        if words.len() == 1 {
            return Ok(Operand::JobFile(path.to_owned()));
        }
        // As a command it could only fail.
        if std::fs::metadata(path).is_ok_and(|is| is.is_file() && is.permissions().mode() & 0o111 == 0) {
            let message = format!("{} is a job file, and takes no arguments", path.display());
            return Err(Error::invalid(message).hint("--json, --quiet and --socket go before it").into());
        }
    }
    if words.len() == 1
        && let Some(script) = script::Script::read(path, &queues)?
    {
        return Ok(Operand::Script(Box::new(script)));
    }
    Ok(Operand::Command)
}

/// Whether the last `count` words of the command line come after a `--` of qrm's own, which clap does not tell.
fn behind_dashes(count: usize) -> bool {
    std::env::args_os().rev().nth(count).is_some_and(|word| word == OsStr::new("--"))
}

/// Queues one job and prints its id, or what would become of it.
fn one(context: &Context, job: JobSpec, dry_run: bool) -> Result<u8, Error> {
    if dry_run {
        return check(context, &mut context.connect()?, job).map(|_| 0);
    }
    let way = if job.pty.is_some() { "qrm attach" } else { "qrm logs -f" };
    let params = SubmitParams { context: self::context()?, job };
    let mut client = context.connect()?;
    let reply = client.call::<JobSubmit>(&params)?;
    let out = &context.out;
    if out.json {
        out.document(&reply);
    } else if out.terminal && !out.quiet {
        let known = if reply.existing { "is known by its key" } else { "submitted" };
        let follow = out.tone(Tone::Quiet, &format!("{way} {0} follows it, qrm show {0} tells all", reply.id));
        out.print(&format!("job {} {known} ({})\n{follow}\n", reply.id, reply.state));
        if reply.state == JobState::Queued {
            offer::tell(context, &mut client, reply.id);
        }
    } else {
        out.print(&format!("{}\n", reply.id));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, FromArgMatches};

    #[test]
    fn only_tasks_of_an_array_wait_for_tasks_with_their_index() {
        for (line, after) in [
            (&["x", "--after", "12.*", "--array", "0-3", "true"][..], Some("12.*")),
            (&["x", "--after", "12.*", "true"], None),
        ] {
            let parsed = Args::augment_args(clap::Command::new("x")).try_get_matches_from(line).unwrap();
            let args = Args::from_arg_matches(&parsed).unwrap();
            let spec = args.asked.spec(args.command).ok();
            let shown = spec.map(|spec| spec.after.iter().map(ToString::to_string).collect::<String>());
            assert_eq!(shown.as_deref(), after, "{line:?}");
        }
    }
}
