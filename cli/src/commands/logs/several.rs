//! The output of several jobs at once, each line with the id of whose it is.
//! It refuses to open more files than a process may, and to ask again and again how they are.

use super::lines::Lines;
use super::{Args, rest};
use crate::Context;
use crate::again::{Stopped, ask};
use crate::commands::wait::{pipe, wait_for_any};
use crate::follow::{Follow, Pump, Sink, Watch, streams};
use crate::render::{Out, Standard};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::{JobState, JobView};
use qrm_protocol::method::{JobList, JobParams, JobShow, ListParams, MAX_WAIT};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{PipeWriter, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

/// So many are followed at once: each takes two open files, of which a process may usually have 1,024.
const FOLLOWED: usize = MAX_WAIT;
/// So many are shown one after another.
const SHOWN: usize = 10_000;

pub(super) fn run(context: &Context, args: &Args) -> Result<u8, Error> {
    let jobs = found(context, args)?;
    if jobs.is_empty() {
        context.out.note("no job matches, or none has started");
        return Ok(0);
    }
    let width = jobs.keys().map(|id| id.to_string().len()).max().unwrap_or(0);
    let mut pane = Pane { context, args, width, shown: BTreeMap::new() };
    let live: Vec<(JobRef, bool)> = jobs
        .iter()
        .filter(|(_, job)| job.as_ref().is_none_or(|job| !job.state.is_terminal()))
        .map(|(id, job)| (*id, job.as_ref().is_some_and(has_started)))
        .collect();
    let watch = if args.follow && !live.is_empty() { Some(Watch::new()?) } else { None };
    let watch = watch.as_ref();
    for (id, job) in jobs {
        let Some(job) = job else { continue };
        if args.follow && !job.state.is_terminal() {
            if has_started(&job) {
                pane.begin(id, &job, watch)?;
            }
        } else {
            pane.begin(id, &job, watch)?;
            pane.end(id, watch)?;
        }
    }
    if let Some(watch) = watch {
        pane.follow(live, watch)?;
    }
    Ok(0)
}

fn has_started(job: &JobView) -> bool {
    job.started_at.is_some() || job.state == JobState::Executing
}

/// The jobs and tasks that are meant, in their order: what the daemon knows of them, or nothing of a task that has not
/// begun.
fn found(context: &Context, args: &Args) -> Result<BTreeMap<JobRef, Option<JobView>>, Error> {
    let most = if args.follow { FOLLOWED } else { SHOWN };
    let too_many = || {
        let what = if args.follow { "followed" } else { "shown" };
        Error::new(Code::ResourceExhausted, format!("the output of at most {most} jobs can be {what} at once"))
            .hint("name fewer of them, as qrm logs 12.0 12.1 or a narrower filter")
    };
    let mut all = BTreeMap::new();
    let mut named = BTreeSet::new();
    let mut params = ListParams { filter: args.targets.clone(), limit: Some(1_000), before: None };
    loop {
        let page = ask(context, Stopped::Fails, |mut client| client.call::<JobList>(&params))?;
        params.before = page.jobs.last().map(|job| job.id);
        for job in page.jobs {
            named.insert(job.id);
            match job.array {
                // Its tasks that have begun are in the list by themselves.
                Some(array) if args.follow && !job.state.is_terminal() => {
                    let tasks = (array.first..=array.last).step_by(array.step as usize);
                    for task in tasks.take(most + 1) {
                        all.entry(JobRef::task(job.id.job, task)).or_insert(None);
                    }
                }
                Some(_) => {}
                None => drop(all.insert(job.id, Some(job))),
            }
        }
        if all.len() > most {
            return Err(too_many());
        }
        if !page.more {
            break;
        }
    }
    // An id that stands for itself is there, or all of it is refused.
    let ids = args.targets.iter().flat_map(|target| target.split([',', ' ']));
    let ids: Vec<JobRef> = ids.filter_map(|id| id.parse().ok()).collect();
    if args.targets.iter().all(|target| is_ids(target)) {
        for id in ids.into_iter().filter(|id| !named.contains(id)) {
            let job = ask(context, Stopped::Fails, |mut client| client.call::<JobShow>(&JobParams { id }))?;
            all.insert(id, Some(job));
        }
    }
    Ok(all)
}

fn is_ids(target: &str) -> bool {
    target.bytes().all(|byte| byte.is_ascii_digit() || b".,- ".contains(&byte))
}

/// What a thread that waits has to say.
enum Told {
    Started(Box<JobView>),
    Ended(Box<JobView>),
    Failed(Error),
}

/// The jobs that are shown.
struct Pane<'a> {
    context: &'a Context,
    args: &'a Args,
    width: usize,
    shown: BTreeMap<JobRef, Shown>,
}

/// One whose files are open.
struct Shown {
    follow: Follow,
    lines: [Lines; 2],
}

impl Pane<'_> {
    /// Opens what a job has written, unless it is open.
    fn begin(&mut self, id: JobRef, job: &JobView, watch: Option<&Watch>) -> Result<(), Error> {
        if self.shown.contains_key(&id) {
            return Ok(());
        }
        let mut follow = Follow::new(streams(job));
        if let Some(lines) = self.args.tail {
            follow.tail(watch, lines)?;
        }
        let label = format!("{:<width$} | ", id.to_string(), width = self.width);
        let place = id.job.0.wrapping_mul(31).wrapping_add(id.task.unwrap_or(0).into());
        let lines = [self.context.out, self.context.out.on_stderr()].map(|out| Lines::new(&out.nth(place, &label)));
        self.shown.insert(id, Shown { follow, lines });
        Ok(())
    }

    /// Shows all that is left of one that has ended, and closes its files.
    fn end(&mut self, id: JobRef, watch: Option<&Watch>) -> Result<(), Error> {
        let Some(mut shown) = self.shown.remove(&id) else { return Ok(()) };
        while shown.copy(&self.context.out, watch, self.args.stderr)? {}
        let [out, err] = &mut shown.lines;
        let ended = [out.end(&mut std::io::stdout().lock()), err.end(&mut std::io::stderr().lock())];
        for (which, ended) in Standard::BOTH.into_iter().zip(ended) {
            ended.unwrap_or_else(|why| self.context.out.end(which, &why));
        }
        Ok(())
    }

    /// Until all have ended. Whether each has started is known.
    fn follow(&mut self, jobs: Vec<(JobRef, bool)>, watch: &Watch) -> Result<(), Error> {
        let mut left: BTreeSet<JobRef> = jobs.iter().map(|(id, _)| *id).collect();
        let waiting: BTreeSet<JobRef> = jobs.iter().filter(|(_, started)| !started).map(|(id, _)| *id).collect();
        let (tell, told) = channel();
        let (wake, waker) = pipe()?;
        let context = self.context;
        std::thread::scope(|scope| {
            for (some, started) in [(waiting, true), (left.clone(), false)] {
                let mouth = Mouth {
                    tell: tell.clone(),
                    waker: waker.try_clone().map_err(|e| Error::new(Code::Unavailable, format!("a pipe: {e}")))?,
                };
                scope.spawn(move || mouth.say(context, some, started));
            }
            drop((tell, waker));
            let shown = self.until_ended(&mut left, &told, &wake, watch);
            if shown.is_err() {
                // The threads wait for what does not matter any more.
                shown.as_ref().err().into_iter().for_each(|error| context.out.error(error));
                std::process::exit(shown.err().map_or(4, |error| error.code.exit_code()).into());
            }
            Ok(())
        })
    }

    fn until_ended(
        &mut self,
        left: &mut BTreeSet<JobRef>,
        told: &Receiver<Told>,
        wake: &std::io::PipeReader,
        watch: &Watch,
    ) -> Result<(), Error> {
        let mut dirty: BTreeSet<JobRef> = self.shown.keys().copied().collect();
        while !left.is_empty() {
            let mut still = BTreeSet::new();
            for id in &dirty {
                if let Some(shown) = self.shown.get_mut(id)
                    && shown.copy(&self.context.out, Some(watch), self.args.stderr)?
                {
                    still.insert(*id);
                }
            }
            dirty = still;
            if rest(wake, watch, !dirty.is_empty())? {
                // As many bytes as there were words, or more.
                rustix::io::read(wake, &mut [0; 512]).ok();
            }
            let changed = watch.drain();
            let has = |shown: &Shown| changed.as_ref().is_none_or(|marks| marks.iter().any(|m| shown.follow.has(*m)));
            dirty.extend(self.shown.iter().filter(|(_, shown)| has(shown)).map(|(id, _)| *id));
            for word in told.try_iter() {
                match word {
                    Told::Failed(error) => return Err(error),
                    Told::Started(job) => {
                        if left.contains(&job.id) {
                            self.begin(job.id, &job, Some(watch))?;
                            dirty.insert(job.id);
                        }
                    }
                    Told::Ended(job) => {
                        self.begin(job.id, &job, Some(watch))?;
                        self.end(job.id, Some(watch))?;
                        left.remove(&job.id);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Shown {
    /// Copies a piece of each stream; whether there may be more.
    fn copy(&mut self, print: &Out, watch: Option<&Watch>, only_stderr: bool) -> Result<bool, Error> {
        let [out, err] = &mut self.lines;
        let mut out = Labelled { lines: out, to: std::io::stdout().lock() };
        let mut err = Labelled { lines: err, to: std::io::stderr().lock() };
        let mut sinks: [Option<Sink<'_>>; 2] = [if only_stderr { None } else { Some(&mut out) }, Some(&mut err)];
        match self.follow.pump(watch, &mut sinks) {
            Ok(more) => Ok(more),
            Err(Pump::Source(error)) => Err(error),
            Err(Pump::Sink(which, why)) => print.end(which, &why),
        }
    }
}

/// A stream that takes lines with their label.
struct Labelled<'a, T: Write> {
    lines: &'a mut Lines,
    to: T,
}

impl<T: Write> Write for Labelled<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.lines.take(bytes, &mut self.to).map(|()| bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// How a thread that waits says what came: a word, and a byte that wakes who listens.
struct Mouth {
    tell: Sender<Told>,
    waker: PipeWriter,
}

impl Mouth {
    /// Says of each of these when it has started, or ended, in the order in which they do.
    fn say(mut self, context: &Context, mut left: BTreeSet<JobRef>, started: bool) {
        while !left.is_empty() {
            let ids: Vec<JobRef> = left.iter().copied().collect();
            let words = match wait_for_any(context, &ids, started) {
                Ok(jobs) => jobs.into_iter().map(Box::new).collect(),
                Err(error) => {
                    self.word(Told::Failed(error));
                    return;
                }
            };
            let words: Vec<Box<JobView>> = words;
            for job in words {
                left.remove(&job.id);
                self.word(if started { Told::Started(job) } else { Told::Ended(job) });
            }
        }
    }

    fn word(&mut self, word: Told) {
        // Who does not listen any more has seen enough.
        if self.tell.send(word).is_ok() {
            self.waker.write_all(b"w").ok();
        }
    }
}
