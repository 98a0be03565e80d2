//! `qrm submit`: queues a command, or many from a file of JSON lines, and prints ids.
//! It refuses to wait for them.

use super::spec::{Options, check, context};
use crate::Context;
use crate::render::Tone;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error, nearest};
use qrm_protocol::frame::BULK_FRAME;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{ArraySpec, JobSpec, SPEC_KEYS};
use qrm_protocol::method::{
    BulkAdd, BulkAddParams, BulkBegin, BulkBeginParams, BulkCommit, Empty, JobSubmit, SubmitParams,
};
use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Queue a command and print its id.
///
/// The job runs in the current directory with the current environment. Its output goes to `stdout` and `stderr` in its own
/// directory; `qrm logs ID` shows it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrm submit -- python train.py --lr 0.1\n  qrm submit --cpus 2 --mem 8G --time 2h -- make -j2\n  \
    qrm submit --array 0-99%4 -- sh -c './step $QRM_ARRAY_INDEX'\n  qrm submit --after-ok 12 -- ./collect\n  \
    qrm submit --bulk jobs.jsonl        # lines such as {\"command\": [\"make\"], \"cpus\": 2, \"time\": \"1h\"}"
)]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
    /// Make it an array: a task for each index A to B, every STEP, at most N at once; QRM_ARRAY_INDEX tells which.
    #[arg(long, value_name = "A-B[:STEP][%N]")]
    array: Option<ArraySpec>,
    /// Queue it on hold.
    #[arg(long)]
    hold: bool,
    /// Read jobs from a file of JSON lines (- is standard input): all of them are queued, or none.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "array", "hold"])]
    bulk: Option<PathBuf>,
    /// The program and its arguments.
    #[arg(value_name = "COMMAND", required_unless_present = "bulk", trailing_var_arg = true)]
    command: Vec<OsString>,
}

pub(crate) fn run(context: &Context, args: Args) -> Result<u8, Error> {
    if let Some(file) = args.bulk {
        if args.options.is_any() {
            return Err(Error::invalid("--bulk takes its options from the lines of the file")
                .hint("write them there, as in {\"command\": [\"make\"], \"cpus\": 2}"));
        }
        return bulk(context, &file, args.options.dry_run);
    }
    let dry_run = args.options.dry_run;
    let mut job = args.options.spec(args.command)?;
    job.array = args.array;
    job.hold = args.hold;
    let job = job.checked()?;
    if dry_run {
        return check(context, &mut context.connect()?, job).map(|_| 0);
    }
    let params = SubmitParams { context: self::context()?, job };
    let reply = context.connect()?.call::<JobSubmit>(&params)?;
    let out = &context.out;
    if out.json {
        out.document(&reply);
    } else if out.terminal && !out.quiet {
        let known = if reply.existing { "is known by its key" } else { "submitted" };
        let follow = out.tone(Tone::Quiet, &format!("qrm logs -f {0} follows it, qrm show {0} tells all", reply.id));
        out.print(&format!("job {} {known} ({})\n{follow}\n", reply.id, reply.state));
    } else {
        out.print(&format!("{}\n", reply.id));
    }
    Ok(0)
}

/// The most lines of one bulk, as many as may live at once.
const MAX_LINES: usize = 10_000_000;

fn bulk(context: &Context, file: &Path, dry_run: bool) -> Result<u8, Error> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let unreadable = |e: std::io::Error| Error::invalid(format!("{name} can not be read: {e}"));
    let jobs = if file == Path::new("-") {
        read(std::io::stdin().lock(), &name)?
    } else {
        read(BufReader::with_capacity(1 << 16, std::fs::File::open(file).map_err(unreadable)?), &name)?
    };
    let count = jobs.len() as u64;
    let mut client = context.connect()?;
    if dry_run {
        for (line, job) in jobs {
            let located = |mut error: Error| {
                error.message = format!("{name}, line {line}: {}", error.message);
                error
            };
            check(context, &mut client, job).map_err(located)?;
        }
        return Ok(0);
    }
    let first = client.call::<BulkBegin>(&BulkBeginParams { context: self::context()?, count })?.first.job.0;
    let lines: Vec<usize> = jobs.iter().map(|(line, _)| *line).collect();
    let mut ids: Vec<JobRef> = (first..first + count).map(|id| JobId(id).into()).collect();
    send(&mut client, jobs, &mut ids).map_err(|error| locate(error, &name, &lines))?;
    client.call::<BulkCommit>(&Empty {})?;
    if context.out.json {
        context.out.document(&ids);
    } else {
        let mut text = String::with_capacity(ids.len() * 8);
        for id in ids {
            text += &format!("{id}\n");
        }
        context.out.print(&text);
    }
    Ok(0)
}

/// Sends the jobs in frames that stay far below the bound.
fn send(client: &mut Client, jobs: Vec<(usize, JobSpec)>, ids: &mut [JobRef]) -> Result<(), Error> {
    let mut slice = BulkAddParams { jobs: Vec::new() };
    let mut bytes = 0;
    let mut jobs = jobs.into_iter().peekable();
    while let Some((_, job)) = jobs.next() {
        bytes += weight(&job);
        slice.jobs.push(job);
        let next = jobs.peek().map_or(usize::MAX / 2, |(_, job)| weight(job));
        if bytes + next > BULK_FRAME {
            let reply = client.call::<BulkAdd>(&slice)?;
            for (place, id) in reply.existing {
                if let Some(slot) = usize::try_from(place).ok().and_then(|place| ids.get_mut(place)) {
                    *slot = id;
                }
            }
            slice.jobs.clear();
            bytes = 0;
        }
    }
    Ok(())
}

/// At most the bytes that a job takes in a frame.
fn weight(job: &JobSpec) -> usize {
    // A byte of a word takes up to six in JSON; the rest of a job is bounded by its names and dependencies.
    let words: usize = job.command.iter().map(|w| w.as_bytes().len() * 2 + 8).sum();
    let ids = job.after.len() + job.after_ok.len() + job.after_fail.len() + job.after_start.len();
    let texts = [&job.validate, &job.compile, &job.name, &job.comment, &job.key, &job.script];
    let paths: usize = [&job.stdout, &job.stderr].into_iter().flatten().map(|path| path.as_bytes().len() * 2).sum();
    let lists = job.env.iter().map(|(name, value)| name.len() + value.as_bytes().len() * 2 + 8);
    let lists: usize = lists.chain(job.labels.iter().map(|(name, value)| (name.len() + value.len()) * 2)).sum();
    let lists = lists + paths + job.output.iter().map(|pattern| pattern.len() * 2 + 8).sum::<usize>();
    words + lists + ids * 24 + texts.iter().map(|t| t.as_ref().map_or(0, |t| t.len() * 2)).sum::<usize>() + 300
}

fn read(from: impl BufRead, name: &str) -> Result<Vec<(usize, JobSpec)>, Error> {
    let mut jobs = Vec::new();
    for (place, line) in from.split(b'\n').enumerate() {
        let line = line.map_err(|e| Error::invalid(format!("{name} can not be read: {e}")))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let number = place + 1;
        jobs.push((number, serde_json::from_slice(&line).map_err(|e| bad_line(name, number, &line, &e))?));
        if jobs.len() > MAX_LINES {
            let message = format!("{name} has more than {MAX_LINES} jobs, as many as may be alive at once");
            return Err(Error::new(Code::ResourceExhausted, message).hint("an array counts as one job"));
        }
    }
    if jobs.is_empty() {
        return Err(
            Error::invalid(format!("{name} holds no job")).hint("write a line such as {\"command\": [\"make\"]}")
        );
    }
    Ok(jobs)
}

fn bad_line(name: &str, number: usize, line: &[u8], why: &serde_json::Error) -> Error {
    let why = why.to_string();
    // serde counts lines within the line.
    let what = why.split(" at line ").next().unwrap_or(&why).to_owned();
    let column = why.rsplit(" column ").next().filter(|_| why.contains(" column ")).unwrap_or("1").to_owned();
    let shown: String = String::from_utf8_lossy(line).chars().take(120).collect();
    let error = Error::invalid(format!("{name}, line {number}, column {column}: {what}: {shown}"));
    let unknown = what.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
    match unknown.and_then(|key| nearest(key, SPEC_KEYS.iter().copied())) {
        Some(near) => error.hint(format!("did you mean \"{near}\"?")),
        None => error.hint("a line is a job, as in {\"command\": [\"make\", \"-j2\"], \"cpus\": 2, \"time\": \"1h\"}"),
    }
}

/// The daemon counts jobs; people count lines.
fn locate(mut error: Error, name: &str, lines: &[usize]) -> Error {
    let place = error
        .message
        .strip_prefix("job ")
        .and_then(|rest| rest.split(' ').next())
        .and_then(|n| n.parse::<usize>().ok());
    if let Some(line) = place.and_then(|place| lines.get(place.wrapping_sub(1)))
        && let Some((_, why)) = error.message.split_once(": ")
    {
        error.message = format!("{name}, line {line}: {why}");
    }
    error
}
