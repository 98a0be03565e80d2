//! `qrmd simulate`: a log of jobs replayed on simulated time, by a policy that is to be looked at.
//! It refuses to touch anything of a daemon: what it reads is the log, what it writes are a report and a picture.

mod easy;
mod fifo;
mod gantt;
mod naive;
mod qrm;
mod report;
mod rows;
mod swf;
#[cfg(test)]
mod tests;
mod workload;

use clap::ValueEnum;
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use report::Report;
use serde::Serialize;
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use workload::{Amount, Workload};

/// Replay a log of jobs on simulated time, and say how long they would have waited.
///
/// The log is in the Standard Workload Format, in which logs of clusters are published. Of a job it has the submit time (field
/// 2), the run time (4), the processors (8, else 5), the requested time (9), which is its time limit, and the user (12). Every
/// policy is given the same: a run that was longer than was requested is ended then; a job that requested no time is taken to
/// have requested what it ran for; jobs that never ran, or that are larger than the machine, are dropped and counted.
///
/// What is said of the schedule: the makespan, from the first submit to the last end; waits, from submit to start; bounded
/// slowdowns, which are wait and run over the run, where a run counts as 10 seconds at least; the utilisation, the part of the
/// cpus that was in use over the makespan; and the largest wait over its fair share, which is the mean wait of a user's jobs over
/// the mean wait of all jobs, for the user for whom that is the largest. p95 is what 95 of 100 jobs do not exceed.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  qrmd simulate --trace log.swf --cpus 64 --policy easy\n  gunzip -c log.swf.gz | qrmd simulate --trace - --cpus 64 --load 0.9 --policy qrm --svg qrm.svg"
)]
pub struct Args {
    /// The log, not compressed; - is standard input.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Cpus of the machine.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cpus: u32,
    /// Memory of the machine, as in 256G: then field 10, kilobytes for each processor, counts. Without, memory is not counted.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Bytes>,
    /// Stretch or shrink the times of submits by one factor, so that the work between the first and the last is this part of
    /// what the machine can do.
    #[arg(long, value_name = "PART", allow_negative_numbers = true, value_parser = load)]
    load: Option<f64>,
    /// Who starts when.
    #[arg(long, value_enum)]
    policy: Policy,
    /// With --policy qrm: whether those who used much lately come later; on unless this is given.
    #[arg(long, value_enum, value_name = "ON|OFF")]
    fair_share: Option<Switch>,
    /// With --policy qrm: how many jobs that wait for room have a planned start, as scheduler.planned_starts says for the daemon.
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u32).range(0..=256))]
    planned_starts: Option<u32>,
    /// Draw the schedule there: cpus from top to bottom, time from left to right, a colour for each user.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Say it in JSON.
    #[arg(long)]
    json: bool,
}

/// A way to decide who starts when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
enum Policy {
    /// First in, first out: nobody overtakes
    Fifo,
    /// EASY backfill: others go ahead of the first of the line if they do not delay it, by the times that were requested
    Easy,
    /// What this daemon does, with all that is built in; see qrm-scheduling(7)
    Qrm,
    /// The same by its definition, made the plain and slow way: to see that the schedule is what was promised
    Naive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// What was replayed, and how, beside the figures.
#[derive(Debug, Serialize)]
struct Said<'a> {
    policy: Policy,
    #[serde(skip_serializing_if = "Option::is_none")]
    fair_share: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    planned_starts: Option<u32>,
    cpus: u32,
    memory_bytes: Option<u64>,
    #[serde(flatten)]
    report: &'a Report,
}

impl Args {
    /// Whether what is said is read by a program.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// How the core decides: as it does without a configuration, but for what is said here. Nothing for other policies.
    ///
    /// # Errors
    /// Something is said that they do not have.
    fn core(&self) -> Result<Option<qrm_core::Policy>, Error> {
        let said = [("--fair-share", self.fair_share.is_some()), ("--planned-starts", self.planned_starts.is_some())];
        match self.policy {
            Policy::Fifo | Policy::Easy => match said.into_iter().find(|(_, said)| *said) {
                Some((option, _)) => {
                    Err(Error::invalid(format!("{option} is for --policy qrm, and the others have nothing like it")))
                }
                None => Ok(None),
            },
            Policy::Qrm | Policy::Naive => {
                let mut policy = qrm_core::Policy::default();
                if self.fair_share == Some(Switch::Off) {
                    policy.weights.fair_share = 0;
                }
                policy.planned_starts = self.planned_starts.unwrap_or(policy.planned_starts);
                Ok(Some(policy))
            }
        }
    }
}

/// Replays what the arguments say.
///
/// # Errors
/// The log can not be read or is none, the machine can run nothing of it, or the picture can not be written.
pub fn simulate(args: &Args) -> Result<(), Error> {
    let core = args.core()?;
    if args.svg.as_ref().is_some_and(|file| file == Path::new("-")) {
        return Err(Error::invalid("--svg writes to a file, for the report is on standard output")
            .hint("name one, as in --svg schedule.svg; ./- is the file of that name"));
    }
    let machine = Amount { cpus: args.cpus, memory: args.memory.map_or(0, |memory| memory.0) };
    let workload = Workload::of(&read(&args.trace)?, machine, args.load)?;
    let jobs = &workload.jobs;
    let began = Instant::now();
    let starts = match (args.policy, core.clone()) {
        (Policy::Fifo, _) => fifo::schedule(jobs, machine),
        (Policy::Easy, _) => easy::schedule(jobs, machine),
        (Policy::Naive, Some(core)) => naive::schedule(jobs, machine, way(&core)),
        (_, core) => qrm::schedule(jobs, machine, core.unwrap_or_default())?,
    };
    let report = Report::of(&workload, &starts, machine.cpus, began.elapsed());
    let (fair_share, planned_starts) = core.map(|core| (core.weights.fair_share > 0, core.planned_starts)).unzip();
    let (policy, cpus, memory_bytes) = (args.policy, machine.cpus, args.memory.map(|memory| memory.0));
    let said = Said { policy, fair_share, planned_starts, cpus, memory_bytes, report: &report };
    if let Some(file) = &args.svg {
        let drawn = gantt::draw(&title(&said), jobs, &starts, machine.cpus);
        std::fs::write(file, drawn).map_err(|error| at(file, &error))?;
    }
    let text = match args.json {
        true => {
            serde_json::to_string(&said).map_err(|e| Error::new(Code::Internal, format!("the report: {e}")))? + "\n"
        }
        false => format!("{}\n{report}", title(&said)),
    };
    let written = std::io::stdout().write_all(text.as_bytes());
    written.map_err(|error| Error::new(Code::Unavailable, format!("standard output: {error}")))
}

/// The same in the words of the naive scheduler.
fn way(core: &qrm_core::Policy) -> naive::Way {
    let qrm_core::Policy { planned_starts, weights, .. } = core;
    naive::Way {
        planned: usize::try_from(*planned_starts).unwrap_or(usize::MAX),
        age_per_hour: weights.age_per_hour,
        fair_share: weights.fair_share,
    }
}

/// What was replayed, in a line.
fn title(said: &Said) -> String {
    let how = match said.policy {
        Policy::Fifo => "fifo",
        Policy::Easy => "easy",
        Policy::Qrm => "qrm",
        Policy::Naive => "naive",
    };
    let fair_share = match said.fair_share {
        Some(true) => " with fair share",
        Some(false) => " without fair share",
        None => "",
    };
    format!("{how}{fair_share}: {} jobs on {} cpus", said.report.jobs, said.cpus)
}

fn at(file: &Path, error: &std::io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::PermissionDenied => Code::PermissionDenied,
        ErrorKind::IsADirectory => Code::InvalidArgument,
        _ => Code::Unavailable,
    };
    Error::new(code, format!("{}: {error}", file.display()))
}

fn read(file: &Path) -> Result<swf::Log, Error> {
    let read = if file.as_os_str() == "-" {
        swf::read(std::io::stdin().lock())
    } else {
        swf::read(BufReader::new(std::fs::File::open(file).map_err(|error| at(file, &error))?))
    };
    let name = if file.as_os_str() == "-" { "standard input".into() } else { file.to_string_lossy() };
    read.map_err(|why| {
        let error = Error::invalid(format!("{name}: {why}"));
        match why {
            swf::BadLog::Compressed => error.hint(format!("gunzip -c {name} | qrmd simulate --trace - …")),
            swf::BadLog::Read(..) => error,
            _ => error.hint("the Standard Workload Format: https://www.cs.huji.ac.il/labs/parallel/workload/swf.html"),
        }
    })
}

fn memory(text: &str) -> Result<Bytes, String> {
    match text.parse::<Bytes>() {
        Ok(Bytes(0)) => Err("no job has no memory; leave --memory out, and memory is not counted".to_owned()),
        other => other.map_err(|e| e.to_string()),
    }
}

fn load(text: &str) -> Result<f64, String> {
    let load = text.parse::<f64>().ok().filter(|load| (0.001..=1000.0).contains(load));
    load.ok_or_else(|| "a load is from 0.001 to 1000; 0.9 keeps nine tenths of the machine busy".to_owned())
}
