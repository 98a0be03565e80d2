//! What `#SBATCH` lines mean here: Slurm's options as submit's own, and a word about each that has no meaning.
//! It refuses to drop anything in silence.

mod options;
mod values;
mod variables;

use super::bulk::After;
use super::script::Directive;
use jiff::Zoned;
use options::{Given, Means, OPTIONS, Takes};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::nearest;
use qrm_protocol::job::DependsOn;
use qrm_protocol::queue::QueueName;
use qrm_protocol::time::Millis;
use std::ops::Range;
pub(super) use variables::variables;

/// What was understood, and what was not.
#[derive(Debug, Default)]
pub(super) struct Imported {
    /// Options of submit with their values, and the lines that gave them.
    pub(super) options: Vec<(&'static str, Option<String>, Range<usize>)>,
    pub(super) warnings: Vec<Warning>,
    /// The queues that it may wait in, as they are named there, and how they are asked for.
    pub(super) partitions: At<(Vec<String>, String)>,
}

impl Imported {
    /// Of the queues that it may wait in takes the first that there is. That there is none of them is no error: the names
    /// are those of another machine.
    pub(super) fn choose_queue(&mut self, known: &[QueueName]) {
        let Some(((names, shown), span)) = self.partitions.take() else { return };
        match names.into_iter().find(|name| known.iter().any(|known| known.as_str() == name)) {
            Some(name) => self.options.push(("--queue", Some(name), span)),
            None => {
                let known: Vec<&str> = known.iter().map(QueueName::as_str).collect();
                let what = format!("{shown} is left out: the queues here are {}", known.join(", "));
                self.warnings.push(Warning { what, span });
            }
        }
    }
}

/// An option that does not mean here what it means there.
#[derive(Debug)]
pub(super) struct Warning {
    /// Names the option.
    pub(super) what: String,
    pub(super) span: Range<usize>,
}

/// A value that is wrong, also for Slurm.
#[derive(Debug)]
pub(super) struct Wrong {
    /// The text of it.
    pub(super) part: String,
    pub(super) why: String,
    pub(super) span: Range<usize>,
}

/// An option of submit as one word.
pub(super) fn word(name: &str, value: &Option<String>) -> String {
    value.as_ref().map_or_else(|| name.to_owned(), |value| format!("{name}={value}"))
}

/// A value with where it stands.
type At<T> = Option<(T, Range<usize>)>;

/// What the lines say so far; what is said later wins.
#[derive(Default)]
struct Found {
    imported: Imported,
    tasks: At<u64>,
    cpus: At<u64>,
    memory: At<Bytes>,
    memory_per_cpu: At<Bytes>,
    time: At<Option<Millis>>,
    signal: At<values::Early>,
    requeue: At<bool>,
    dependencies: At<values::Dependencies>,
    output: At<String>,
    error: At<String>,
    input: At<String>,
}

/// Slurm's options as those of submit.
///
/// # Errors
/// A value that Slurm would refuse, too, or that would be another job here.
pub(super) fn import(lines: &[Directive], now: &Zoned) -> Result<Imported, Wrong> {
    let mut found = Found::default();
    for line in lines {
        let mut words = line.words.iter().peekable();
        while let Some(typed) = words.next() {
            let Some(given) = Given::of(typed) else {
                found.warn(format!("{typed} is left out: it is not an option"), &line.span);
                continue;
            };
            let Some((_, _, takes, means)) = given.known() else {
                // Whether it has a value is not known; what does not look like an option is taken for it.
                words.next_if(|next| given.value.is_none() && !next.starts_with('-'));
                let near = nearest(&given.name, OPTIONS.iter().map(|(long, ..)| *long));
                let near = near.map(|near| format!("; did you mean --{near}?")).unwrap_or_default();
                found.warn(format!("{typed} is left out: it is not known{near}"), &line.span);
                continue;
            };
            let value = match takes {
                Takes::Nothing => {
                    if let Some(value) = &given.value {
                        let option = &given.shown;
                        found.warn(format!("'{value}' of {typed} is left out: {option} takes no value"), &line.span);
                    }
                    None
                }
                Takes::Maybe => given.value,
                Takes::Value => Some(given.value.or_else(|| words.next().cloned()).ok_or_else(|| Wrong {
                    part: typed.clone(),
                    why: format!("{typed} needs a value"),
                    span: line.span.clone(),
                })?),
            };
            let value = value.unwrap_or_default();
            let shown = if value.is_empty() { given.shown } else { format!("{}{value}", given.shown_before_value) };
            found.take(*means, &shown, value, &line.span, now)?;
        }
    }
    Ok(found.into_imported())
}

impl Found {
    fn warn(&mut self, what: String, span: &Range<usize>) {
        self.imported.warnings.push(Warning { what, span: span.clone() });
    }

    /// Forgets what was said before.
    fn unset(&mut self, names: &[&str]) {
        self.imported.options.retain(|(known, ..)| !names.contains(known));
    }

    fn set(&mut self, name: &'static str, value: Option<String>, span: &Range<usize>) {
        self.unset(&[name]);
        self.imported.options.push((name, value, span.clone()));
    }

    fn take(
        &mut self,
        means: Means,
        shown: &str,
        value: String,
        span: &Range<usize>,
        now: &Zoned,
    ) -> Result<(), Wrong> {
        let wrong = |why: String| Wrong { part: value.clone(), why: format!("{shown}: {why}"), span: span.clone() };
        let count = || match value.parse::<u64>() {
            Ok(n @ 1..=1_000_000) => Ok(n),
            _ => Err(wrong(format!("'{value}' is not a number from 1 on"))),
        };
        let at = span.clone();
        match means {
            Means::Array => self.set("--array", Some(values::array(&value).map_err(wrong)?.to_string()), span),
            Means::Begin => self.set("--begin", Some(values::begin(&value, now).map_err(wrong)?.to_string()), span),
            Means::Deadline => {
                self.set("--deadline", Some(values::begin(&value, now).map_err(wrong)?.to_string()), span)
            }
            Means::Output => self.output = Some((value, at)),
            Means::Error => self.error = Some((value, at)),
            Means::Input => self.input = Some((value, at)),
            Means::OpenMode => {
                if value != "append" {
                    self.warn(format!("{shown} is left out: its files are appended to"), span);
                }
            }
            Means::Chdir => self.set("--chdir", Some(value), span),
            Means::Comment => self.set("--comment", Some(value), span),
            Means::JobName => self.set("--name", Some(value), span),
            Means::Hold => self.set("--hold", None, span),
            Means::Cpus => self.cpus = Some((count()?, at)),
            Means::Disk => match values::memory(&value).map_err(wrong)? {
                Bytes(0) => self.unset(&["--disk"]),
                Bytes(bytes) => self.set("--disk", Some(bytes.to_string()), span),
            },
            Means::Tasks => self.tasks = Some((count()?, at)),
            Means::Memory => self.memory = Some((values::memory(&value).map_err(wrong)?, at)),
            Means::MemoryPerCpu => self.memory_per_cpu = Some((values::memory(&value).map_err(wrong)?, at)),
            Means::Time => self.time = Some((values::limit(&value).map_err(wrong)?, at)),
            Means::Signal => {
                self.signal = Some((values::early_signal(&value).map_err(wrong)?, at));
                self.warn(format!("{shown} reaches all processes of the job"), span);
            }
            Means::Requeue => self.requeue = Some((true, at)),
            Means::NoRequeue => self.requeue = Some((false, at)),
            Means::Dependency => {
                let read = values::dependencies(&value).map_err(wrong)?;
                read.left_out.iter().for_each(|why| self.warn(format!("{shown}: {why}"), span));
                self.dependencies = Some((read, at));
            }
            Means::Exclusive => {
                if !value.is_empty() {
                    self.warn(format!("{shown} is --exclusive here: nothing at all runs beside it"), span);
                }
                self.set("--exclusive", None, span);
            }
            Means::Shared => self.unset(&["--exclusive"]),
            Means::Partition => {
                let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
                self.imported.partitions = Some(((names.map(str::to_owned).collect(), shown.to_owned()), at));
            }
            Means::Export => self.export(shown, &value, span),
            Means::Nice => self.nice(shown, &value, span)?,
            Means::One(why) => {
                if value.split('-').any(|n| n != "1") {
                    self.warn(format!("{shown} is left out: {why}"), span);
                }
            }
            Means::Fine => {}
            Means::No(why) => self.warn(format!("{shown} is left out: {why}"), span),
        }
        Ok(())
    }

    fn nice(&mut self, shown: &str, value: &str, span: &Range<usize>) -> Result<(), Wrong> {
        let wrong = || Wrong { part: value.to_owned(), why: format!("'{value}' is not a number"), span: span.clone() };
        // Without a value it is 100.
        let nice: i64 = if value.is_empty() { 100 } else { value.parse().map_err(|_| wrong())? };
        self.unset(&["--priority"]);
        match nice {
            0 => {}
            1.. => self.set("--priority", Some("low".to_owned()), span),
            _ => self.warn(format!("{shown} is left out: use #QRM --priority high"), span),
        }
        Ok(())
    }

    /// `ALL`, `NONE`, `NIL`, or variables; without `ALL` those alone.
    fn export(&mut self, shown: &str, value: &str, span: &Range<usize>) {
        let parts: Vec<&str> = value.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        self.unset(&["--clean-env", "--env"]);
        if !parts.contains(&"ALL") {
            self.set("--clean-env", None, span);
        }
        for variable in parts.iter().filter(|part| !matches!(**part, "ALL" | "NONE" | "NIL")) {
            let name = variable.split('=').next().unwrap_or(variable);
            if name == *variable && std::env::var_os(name).is_none() {
                self.warn(format!("{shown}: {name} is left out: there is no such variable here"), span);
            } else {
                // Each is an option of its own.
                self.imported.options.push(("--env", Some((*variable).to_owned()), span.clone()));
            }
        }
    }

    /// What several options say together.
    fn into_imported(mut self) -> Imported {
        self.resources();
        if let Some((mut dependencies, span)) = self.dependencies.take() {
            let each = |(_, on): &&mut (After, DependsOn)| matches!(on, DependsOn::Each(_));
            let is_array = self.is_array();
            for (_, on) in dependencies.on.iter_mut().filter(each).filter(|_| !is_array) {
                let job = on.job();
                *on = DependsOn::One(job.into());
                self.imported.warnings.push(Warning {
                    what: format!("aftercorr:{job} is afterok:{job} here, for this is no array"),
                    span: span.clone(),
                });
            }
            for kind in After::ALL {
                let ids = dependencies.on.iter().filter(|(on, _)| *on == kind).map(|(_, on)| on.to_string());
                let ids: Vec<String> = ids.collect();
                if !ids.is_empty() {
                    self.set(option_of(kind), Some(ids.join(",")), &span);
                }
            }
            if dependencies.any && !dependencies.on.is_empty() {
                self.set("--any", None, &span);
            }
        }
        if let Some((true, span)) = self.requeue.take() {
            self.set("--retries", Some("3".to_owned()), &span);
            self.set("--retry-on", Some("lost,preempted".to_owned()), &span);
        }
        self.limits();
        self.files();
        self.imported
    }

    fn is_array(&self) -> bool {
        self.imported.options.iter().any(|(name, ..)| *name == "--array")
    }

    fn files(&mut self) {
        let is_array = self.is_array();
        let error = self.error.take().or(self.output.clone());
        for (option, file) in [("--stdout", self.output.take()), ("--stderr", error), ("--stdin", self.input.take())] {
            let Some((pattern, span)) = file else { continue };
            let (path, left_out) = values::path(&pattern, is_array);
            // Of one pattern for both it is said once.
            if option != "--stderr"
                || self.imported.options.iter().all(|(name, _, at)| *name != "--stdout" || *at != span)
            {
                left_out.into_iter().for_each(|why| self.warn(format!("{pattern}: {why}"), &span));
            }
            self.set(option, Some(path), &span);
        }
    }

    fn resources(&mut self) {
        let tasks = self.tasks.as_ref().map_or(1, |(tasks, _)| *tasks);
        let cpus = self.cpus.as_ref().map_or(1, |(cpus, _)| *cpus).saturating_mul(tasks);
        let span = self.cpus.take().or(self.tasks.clone()).map(|(_, span)| span);
        if let Some(span) = span {
            self.set("--cpus", Some(cpus.to_string()), &span);
        }
        if let Some((2.., span)) = self.tasks.take() {
            self.warn(format!("--ntasks={tasks}: the script runs once, with so many times the cpus"), &span);
        }
        if let Some((Bytes(each), span)) = self.memory_per_cpu.take() {
            self.memory.get_or_insert((Bytes(each.saturating_mul(cpus)), span));
        }
        match self.memory.take() {
            Some((Bytes(0), span)) => {
                self.warn("--mem=0 is left out: say how much it needs".to_owned(), &span);
            }
            Some((Bytes(bytes), span)) => self.set("--mem", Some(bytes.to_string()), &span),
            None => {}
        }
    }

    /// A signal some time before the limit is a limit that is so much earlier, with that much grace.
    fn limits(&mut self) {
        let mut limit = self.time.take().and_then(|(limit, span)| Some((limit?, span)));
        if let Some((early, span)) = self.signal.take() {
            self.set("--signal", Some(early.signal.to_string()), &span);
            self.set("--grace", Some(format!("{}ms", early.before.0)), &span);
            if let Some((limit, _)) = &mut limit {
                // A job that is shorter than that hears it at once.
                limit.0 = limit.0.saturating_sub(early.before.0).max(1);
            }
        }
        if let Some((limit, span)) = limit {
            self.set("--time", Some(format!("{}ms", limit.0)), &span);
        }
    }
}

fn option_of(kind: After) -> &'static str {
    match kind {
        After::End => "--after",
        After::Ok => "--after-ok",
        After::Fail => "--after-fail",
        After::Start => "--after-start",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these words become, and the warnings, where these are the queues that there are.
    fn imported(line: &str, queues: &[&str]) -> (String, Vec<String>) {
        let words = shlex::split(line).unwrap();
        let now = "2026-03-28T12:00:00[Europe/Prague]".parse().unwrap();
        let mut found =
            import(&[Directive { words, span: 0..line.len() }], &now).unwrap_or_else(|e| panic!("{}", e.why));
        let queues: Vec<QueueName> = queues.iter().map(|name| name.parse().unwrap()).collect();
        found.choose_queue(&queues);
        let options: Vec<String> = found.options.iter().map(|(name, value, _)| word(name, value)).collect();
        (options.join(" "), found.warnings.into_iter().map(|warning| warning.what).collect())
    }

    #[test]
    fn a_partition_is_the_first_queue_of_that_name_that_there_is() {
        let queues = ["default", "long", "short"];
        for (line, options, warnings) in [
            ("-p long", "--queue=long", &[][..]),
            ("--partition=gpu,short,long", "--queue=short", &[]),
            ("-p short --partition long", "--queue=long", &[]),
            ("-p GPU", "", &["-p GPU is left out: the queues here are default, long, short"]),
            ("--qos=long", "", &["--qos=long is left out: there are none here"]),
        ] {
            let (said, why) = imported(line, &queues);
            assert_eq!((said.as_str(), why), (options, warnings.iter().map(ToString::to_string).collect()), "{line}");
        }
    }

    #[test]
    fn what_is_asked_of_a_whole_node_is_asked_of_the_machine() {
        let others = "--exclusive=user is --exclusive here: nothing at all runs beside it";
        for (line, options, warnings) in [
            ("--exclusive", "--exclusive", &[][..]),
            ("--exclusive=user", "--exclusive", &[others]),
            ("--exclusive --oversubscribe", "", &[]),
            ("-s --exclusive", "--exclusive", &[]),
        ] {
            let (said, why) = imported(line, &[]);
            assert_eq!((said.as_str(), why), (options, warnings.iter().map(ToString::to_string).collect()), "{line}");
        }
    }

    #[test]
    fn tasks_wait_for_those_with_their_index_only_in_an_array() {
        let plain = "aftercorr:7 is afterok:7 here, for this is no array";
        for (line, options, warnings) in [
            ("-a 0-3 -d aftercorr:7:8_2", "--array=0-3 --after-ok=7.*,8.2", &[][..]),
            ("-d aftercorr:7,afterany:9", "--after=9 --after-ok=7", &[plain]),
        ] {
            let (said, why) = imported(line, &[]);
            assert_eq!((said.as_str(), why), (options, warnings.iter().map(ToString::to_string).collect()), "{line}");
        }
    }
}
