//! `qrmd simulate`: a log of jobs replayed on simulated time, by a policy that is to be looked at.
//! It refuses to touch anything of a daemon: what it reads is the log, what it writes are a report and a picture.

mod easy;
mod fifo;
mod gantt;
mod report;
mod rows;
mod swf;
mod workload;

use clap::ValueEnum;
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use report::Report;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;
use workload::{Amount, Workload};

/// Replay a log of jobs on simulated time, and say how long they would have waited.
///
/// The log is in the Standard Workload Format, as logs of clusters are published. A job has the processors, time and user of its
/// line (fields 8, else 5; 4; 9; 12). Every policy is given the same: a run that was longer than its requested time is ended
/// then, as a time limit does; a job that requested none is taken to have requested what it ran for; lines of jobs that never
/// ran, or that are larger than the machine, are dropped and counted.
///
/// What is said: the makespan, from the first submit to the last end; waits, from submit to start; bounded slowdowns, which are
/// wait and run over the run, where a run counts as 10 seconds at least; utilisation, the part of the cpus in use over the
/// makespan; and the largest wait over its fair share, which is, for the user with the largest, the mean wait of the user's jobs
/// over the mean wait of all jobs. p95 is what 95 of 100 jobs do not exceed.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The log, not compressed; - is standard input.
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,
    /// Cpus of the machine.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    cpus: u32,
    /// Memory of the machine, as in 256G: then field 10, kilobytes for each processor, counts. Without, memory is not counted.
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<Bytes>,
    /// Stretch or shrink the times of submits by one factor, so that the work between the first and the last is this part of
    /// what the machine can do.
    #[arg(long, value_name = "PART", value_parser = load)]
    load: Option<f64>,
    /// Who starts when.
    #[arg(long, value_enum)]
    policy: Policy,
    /// Draw the schedule there: cpus from top to bottom, time from left to right, a colour for each user.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Say it in JSON.
    #[arg(long)]
    json: bool,
}

/// A way to decide who starts when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Policy {
    /// First in, first out, and nobody overtakes.
    Fifo,
    /// EASY backfill: others go ahead of the first of the line if they do not delay it, by what they requested.
    Easy,
}

/// Replays what the arguments say.
///
/// # Errors
/// The log can not be read or is none, the machine can run nothing of it, or the picture can not be written.
pub fn simulate(args: &Args) -> Result<(), Error> {
    let machine = Amount { cpus: args.cpus, memory: args.memory.map_or(0, |memory| memory.0) };
    let workload = Workload::of(&read(&args.trace)?, machine, args.load)?;
    let began = Instant::now();
    let starts = match args.policy {
        Policy::Fifo => fifo::schedule(&workload.jobs, machine),
        Policy::Easy => easy::schedule(&workload.jobs, machine),
    };
    let report = Report::of(&workload, &starts, machine.cpus, began.elapsed());
    if let Some(file) = &args.svg {
        let policy = format!("{:?}", args.policy).to_lowercase();
        let title = format!("{policy}: {} jobs on {} cpus", workload.jobs.len(), machine.cpus);
        let drawn = gantt::draw(&title, &workload.jobs, &starts, machine.cpus);
        std::fs::write(file, drawn).map_err(|error| at(file, &error))?;
    }
    let text = if args.json { json(&report)? } else { report.to_string() };
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Error::new(Code::Unavailable, format!("standard output: {e}")))
}

fn json(report: &Report) -> Result<String, Error> {
    let json = serde_json::to_string(report).map_err(|e| Error::new(Code::Internal, format!("the report: {e}")))?;
    Ok(json + "\n")
}

fn at(file: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::NotFound, format!("{}: {error}", file.display()))
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
