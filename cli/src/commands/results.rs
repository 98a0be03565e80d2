//! `qrm results`: what a job says its result is, and what it left.
//! It refuses to ask the daemon for more than where that is: the files are read here, by who asks.

use crate::Context;
use crate::again::{Stopped, ask};
use crate::complete::{Which, just_ids};
use crate::render::table::{Column, table};
use crate::render::{Tone, clean};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::manifest::{MANIFEST_NAME, Manifest, RESULTS_NAME};
use qrm_protocol::method::{JobParams, JobShow};
use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
use rustix::io::Errno;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The result of a job, and what it left.
///
/// That is what it wrote to $QRM_JOB_DIR/results.json, and the files that match its --output. The first is printed as it is; with --json both are one document: {"id", "results", "outputs"}.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  qrm results 12\n  qrm results 12.3 --json | jq .results.accuracy")]
pub(crate) struct Args {
    /// A job as 12, a task of an array as 12.3.
    #[arg(value_name = "ID", add = just_ids(Which::Recent))]
    id: JobRef,
}

/// The longest result that is read.
const MAX_RESULTS: u64 = 64 << 20;

pub(crate) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let job = ask(context, Stopped::Fails, |mut client| client.call::<JobShow>(&JobParams { id: args.id }))?;
    let dir = match open(Path::new(&job.dir), OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(dir) => Some(dir),
        Err(Errno::NOENT) => None,
        Err(e) => return Err(unreadable(&job.dir, &e)),
    };
    let (results, manifest) = match &dir {
        Some(dir) => (read(dir, &job.dir, RESULTS_NAME)?, read(dir, &job.dir, MANIFEST_NAME)?),
        None => (None, None),
    };
    let damaged = |name: &str, e: &serde_json::Error| {
        Error::new(Code::FailedPrecondition, format!("{}/{name} is not what it should be: {e}", job.dir))
    };
    let manifest: Option<Manifest> =
        manifest.map(|text| serde_json::from_slice(&text).map_err(|e| damaged(MANIFEST_NAME, &e))).transpose()?;
    if results.is_none() && manifest.is_none() {
        let message = match (job.array, job.state.is_terminal()) {
            (Some(array), _) => {
                return Err(Error::new(Code::FailedPrecondition, format!("job {} is an array", job.id))
                    .hint(format!("each of its tasks has its own result, as qrm results {}.{}", job.id, array.first)));
            }
            (None, true) => format!("job {} left no results", job.id),
            (None, false) => format!("job {} has no results yet", job.id),
        };
        return Err(Error::new(Code::NotFound, message)
            .hint("a job writes them to $QRM_JOB_DIR/results.json, or names its files with --output"));
    }
    if context.out.json {
        let results: Option<serde_json::Value> =
            results.map(|text| serde_json::from_slice(&text).map_err(|e| damaged(RESULTS_NAME, &e))).transpose()?;
        context.out.document(&serde_json::json!({
            "id": job.id,
            "results": results,
            "outputs": manifest.as_ref().map(|manifest| &manifest.outputs),
        }));
        return Ok(0);
    }
    let mut text = results.map_or_else(String::new, |text| String::from_utf8_lossy(&text).into_owned());
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    // What a terminal would obey is shown, not sent.
    let shown = if context.out.terminal { text.lines().map(|line| clean(line) + "\n").collect() } else { text };
    context.out.print(&shown);
    if let Some(manifest) = manifest {
        context.out.print(&outputs(context, &manifest));
    }
    Ok(0)
}

const COLUMNS: &[Column] = &[("SIZE", true), ("SHA256", false), ("FILE", false)];

fn outputs(context: &Context, manifest: &Manifest) -> String {
    if manifest.outputs.is_empty() {
        context.out.note("no file matches its --output");
        return String::new();
    }
    let rows = manifest.outputs.iter().map(|file| {
        vec![
            (Bytes(file.size_bytes).to_string(), Tone::Plain),
            // On a terminal as much as tells them apart.
            (
                if context.out.terminal { file.sha256.chars().take(12).collect() } else { file.sha256.clone() },
                Tone::Quiet,
            ),
            (clean(&file.path.lossy()), Tone::Plain),
        ]
    });
    let mut text = table(&context.out, COLUMNS, rows.collect());
    if manifest.truncated {
        text += "and more, which are not listed\n";
    }
    text
}

fn unreadable(what: &str, why: &rustix::io::Errno) -> Error {
    if *why == rustix::io::Errno::ACCESS {
        let message = format!("{what} is not for you: what a job leaves is its owner's alone");
        return Error::new(Code::PermissionDenied, message);
    }
    damaged(what, why)
}

fn damaged(what: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(Code::Unavailable, format!("{what} can not be read: {why}"))
}

/// A regular file in a job's directory, and nothing that a link leads to.
fn read(dir: &OwnedFd, shown: &str, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let failed = |why: &dyn std::fmt::Display| damaged(&format!("{shown}/{name}"), why);
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(None),
        Err(e) => return Err(failed(&e)),
    };
    let stat = fstat(&file).map_err(|e| failed(&e))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(failed(&"it is no regular file"));
    }
    let mut text = Vec::new();
    File::from(file).take(MAX_RESULTS + 1).read_to_end(&mut text).map_err(|e| failed(&e))?;
    if text.len() as u64 > MAX_RESULTS {
        return Err(failed(&format!("it is larger than {}", Bytes(MAX_RESULTS))));
    }
    Ok(Some(text))
}
