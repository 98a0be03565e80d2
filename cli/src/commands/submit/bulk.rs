//! Many jobs at once: read from JSON lines, and sent so that all of them appear or none.
//! It refuses to look into a job.

use super::sending::Sending;
use crate::Context;
use crate::commands::spec::{Foretold, context};
use crate::commands::wants::instant;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error, nearest};
use qrm_protocol::frame::BULK_FRAME;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{DependsOn, JobSpec, SPEC_KEYS};
use qrm_protocol::method::{BulkAdd, BulkAddParams, BulkBegin, BulkBeginParams, BulkCommit, Empty};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The most jobs of one bulk, as many as may live at once.
const MAX_JOBS: usize = 10_000_000;

pub(super) fn submit(context: &Context, file: &Path, dry_run: bool) -> Result<u8, Error> {
    let name = if file == Path::new("-") { "standard input".to_owned() } else { file.display().to_string() };
    let unreadable = |e: std::io::Error| Error::invalid(format!("{name} can not be read: {e}"));
    let jobs = if file == Path::new("-") {
        read(std::io::stdin().lock(), &name)?
    } else {
        read(BufReader::with_capacity(1 << 16, std::fs::File::open(file).map_err(unreadable)?), &name)?
    };
    if dry_run {
        let mut client = context.connect()?;
        let mut all = Vec::with_capacity(jobs.len());
        for (line, job) in jobs {
            let located = |mut error: Error| {
                error.message = format!("{name}, line {line}: {}", error.message);
                error
            };
            all.push(Foretold::of(&mut client, job).map_err(located)?);
        }
        Foretold::print(context, &all);
        return Ok(0);
    }
    let (lines, jobs): (Vec<usize>, Vec<JobSpec>) = jobs.into_iter().unzip();
    let sent = send(context, jobs.len(), jobs.into_iter().map(Linked::from));
    let ids = sent.map_err(|refused| match refused.place.and_then(|place| lines.get(place)) {
        Some(line) => Error { message: format!("{name}, line {line}: {}", refused.error.message), ..refused.error },
        None => refused.error,
    })?;
    if context.out.json {
        context.out.document(&ids);
    } else {
        context.out.print(&lines_of(&ids));
    }
    Ok(0)
}

/// Ids, a line each.
pub(super) fn lines_of(ids: &[JobRef]) -> String {
    let mut text = String::with_capacity(ids.len() * 8);
    for id in ids {
        text += &format!("{id}\n");
    }
    text
}

/// A job of a bulk that may wait for earlier ones, whose ids are only known when they are sent.
pub(super) struct Linked {
    pub(super) spec: JobSpec,
    /// Which of its dependencies is not an id yet, but a place in the bulk.
    pub(super) links: Vec<Link>,
}

/// A dependency on an earlier job of the bulk.
pub(super) struct Link {
    pub(super) kind: After,
    /// Where in the list of that kind.
    pub(super) at: usize,
    /// Whose id belongs there.
    pub(super) job: usize,
}

/// The kinds of dependencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    End,
    Ok,
    Fail,
    Start,
}

impl After {
    pub(super) const ALL: [Self; 4] = [Self::End, Self::Ok, Self::Fail, Self::Start];

    /// The key in a job.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::End => "after",
            Self::Ok => "after_ok",
            Self::Fail => "after_fail",
            Self::Start => "after_start",
        }
    }

    /// What is waited for, as in "after completion of 12".
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::End => "end",
            Self::Ok => "completion",
            Self::Fail => "failure",
            Self::Start => "start",
        }
    }

    /// Its list in a job.
    pub(super) fn list(self, spec: &JobSpec) -> &[DependsOn] {
        match self {
            Self::End => &spec.after,
            Self::Ok => &spec.after_ok,
            Self::Fail => &spec.after_fail,
            Self::Start => &spec.after_start,
        }
    }

    pub(super) fn list_mut(self, spec: &mut JobSpec) -> &mut Vec<DependsOn> {
        match self {
            Self::End => &mut spec.after,
            Self::Ok => &mut spec.after_ok,
            Self::Fail => &mut spec.after_fail,
            Self::Start => &mut spec.after_start,
        }
    }
}

impl From<JobSpec> for Linked {
    fn from(spec: JobSpec) -> Self {
        Self { spec, links: Vec::new() }
    }
}

/// Why nothing was queued, and because of which job, if it is one's fault.
pub(super) struct Refused {
    pub(super) error: Error,
    /// From 0.
    pub(super) place: Option<usize>,
}

impl From<Error> for Refused {
    /// The daemon counts jobs from 1.
    fn from(mut error: Error) -> Self {
        let rest = error.message.strip_prefix("job ").and_then(|rest| rest.split_once(" of the bulk: "));
        let counted = rest.and_then(|(n, why)| Some((n.parse::<usize>().ok()?.checked_sub(1)?, why.to_owned())));
        let place = counted.map(|(place, why)| {
            error.message = why;
            place
        });
        Self { error, place }
    }
}

/// Queues jobs, all or none; their ids.
pub(super) fn send(
    context: &Context,
    count: usize,
    jobs: impl Iterator<Item = Linked>,
) -> Result<Vec<JobRef>, Refused> {
    let mut client = context.connect()?;
    let params = BulkBeginParams { context: self::context()?, count: count as u64 };
    let first = client.call::<BulkBegin>(&params)?.first.job.0;
    let ids = (first..first + count as u64).map(|id| JobId(id).into()).collect();
    let slice = BulkAddParams { jobs: Vec::new() };
    let sending = Sending::new(&context.out, count);
    let mut sender = Sender { client, ids, slice, keyed: Vec::new(), bytes: 0, sending };
    for (place, job) in jobs.enumerate() {
        sender.add(place, job)?;
    }
    sender.flush()?;
    sender.client.call::<BulkCommit>(&Empty {})?;
    Ok(sender.ids)
}

/// Sends jobs in frames that stay far below the bound.
struct Sender<'a> {
    client: Client,
    ids: Vec<JobRef>,
    slice: BulkAddParams,
    /// Which jobs of the slice have a key: each may turn out to be a job that there is, with another id.
    keyed: Vec<usize>,
    bytes: usize,
    sending: Sending<'a>,
}

impl Sender<'_> {
    fn add(&mut self, place: usize, mut job: Linked) -> Result<(), Error> {
        let weight = weight(&job.spec);
        let unsure = job.links.iter().any(|link| self.keyed.binary_search(&link.job).is_ok());
        if unsure || self.bytes + weight > BULK_FRAME {
            self.flush()?;
        }
        for link in &job.links {
            let on = &mut link.kind.list_mut(&mut job.spec)[link.at];
            *on = on.of(self.ids[link.job].job);
        }
        if job.spec.key.is_some() {
            self.keyed.push(place);
        }
        self.bytes += weight;
        self.slice.jobs.push(job.spec);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.slice.jobs.is_empty() {
            return Ok(());
        }
        for (place, id) in self.client.call::<BulkAdd>(&self.slice)?.existing {
            if let Some(slot) = usize::try_from(place).ok().and_then(|place| self.ids.get_mut(place)) {
                *slot = id;
            }
        }
        self.sending.sent(self.slice.jobs.len());
        self.slice.jobs.clear();
        self.keyed.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// At most the bytes that a job takes in a frame.
fn weight(job: &JobSpec) -> usize {
    // A byte of a word takes up to six in JSON; the rest of a job is bounded by its names and dependencies.
    let words: usize = job.command.iter().map(|w| w.as_bytes().len() * 2 + 8).sum();
    let ids = job.after.len() + job.after_ok.len() + job.after_fail.len() + job.after_start.len();
    let texts = [&job.validate, &job.compile, &job.name, &job.comment, &job.key, &job.script];
    let paths: usize =
        [&job.stdout, &job.stderr, &job.chdir].into_iter().flatten().map(|path| path.as_bytes().len() * 2).sum();
    let lists = job.env.iter().map(|(name, value)| name.len() + value.as_bytes().len() * 2 + 8);
    let lists: usize = lists.chain(job.labels.iter().map(|(name, value)| (name.len() + value.len()) * 2)).sum();
    let lists = lists + paths + job.output.iter().map(|pattern| pattern.len() * 2 + 8).sum::<usize>();
    // Its queue and an alternative are a few numbers and words with their names.
    let few = 500 + job.variants.len() * 160;
    words + lists + few + ids * 24 + texts.iter().map(|t| t.as_ref().map_or(0, |t| t.len() * 2)).sum::<usize>()
}

fn read(from: impl BufRead, name: &str) -> Result<Vec<(usize, JobSpec)>, Error> {
    let mut jobs = Vec::new();
    for (place, line) in from.split(b'\n').enumerate() {
        let line = line.map_err(|e| Error::invalid(format!("{name} can not be read: {e}")))?;
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let number = place + 1;
        jobs.push((number, job_of(&line).map_err(|e| bad_line(name, number, &line, &e))?));
        if jobs.len() > MAX_JOBS {
            let message = format!("{name} has more than {MAX_JOBS} jobs, as many as may be alive at once");
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

/// The job of a line. Its times may be as people write them, which only one that is refused is looked at for.
fn job_of(line: &[u8]) -> serde_json::Result<JobSpec> {
    serde_json::from_slice(line).or_else(|refused| {
        let Ok(mut job) = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line) else {
            return Err(refused);
        };
        let mut is_other = false;
        for key in ["begin", "deadline"] {
            let time = job.get(key).and_then(|text| instant(text.as_str()?).ok());
            if let Some(time) = time {
                job.insert(key.to_owned(), time.to_string().into());
                is_other = true;
            }
        }
        if is_other { serde_json::from_value(job.into()) } else { Err(refused) }
    })
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
