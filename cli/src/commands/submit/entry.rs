//! One `[[job]]` of a job file: its table, with what the file says of all, as a job.
//! It refuses to know of other jobs more than their names.

use super::bulk::After;
use super::file::Source;
use crate::commands::spec::directory;
use crate::commands::wants::instant;
use crate::render::excerpt::Fault;
use qrm_protocol::error::{Error, nearest};
use qrm_protocol::ids::JobId;
use qrm_protocol::job::{DependsOn, JobSpec, SPEC_KEYS};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// A job of the file.
#[derive(Debug)]
pub(super) struct Entry {
    /// Where its heading is.
    pub(super) at: Range<usize>,
    /// What people see.
    pub(super) name: String,
    pub(super) spec: JobSpec,
    /// What it waits for in the file.
    pub(super) needs: Vec<Need>,
}

/// A `[[job]]`, and where its heading is.
pub(super) type Table<'a> = (Range<usize>, DeTable<'a>);

/// A dependency on another job of the file.
#[derive(Debug)]
pub(super) struct Need {
    pub(super) kind: After,
    /// Where in the list of that kind.
    pub(super) at: usize,
    pub(super) job: usize,
    pub(super) span: Range<usize>,
}

impl<'a> Source<'a> {
    /// The job of a table.
    pub(super) fn entry(
        &self,
        (at, job): Table<'a>,
        defaults: &DeTable<'a>,
        names: &HashMap<String, usize>,
    ) -> Result<Entry, Fault> {
        let mut job = merged(job, defaults);
        self.check_keys(&job, &at)?;
        let mut needs = Vec::new();
        let is_array = job.contains_key("array");
        for kind in After::ALL {
            if let Some(list) = job.get_mut(kind.key()) {
                self.needs(kind, list, (names, is_array), &mut needs)?;
            }
        }
        if let Some(or) = job.get("or") {
            self.check_alternatives(or)?;
        }
        if let Some(command) = job.get_mut("command") {
            shell(command);
        }
        for key in ["begin", "deadline"] {
            if let Some(time) = job.get_mut(key) {
                self.time(time)?;
            }
        }
        if let Some(chdir) = job.get_mut("chdir") {
            self.chdir(chdir)?;
        }
        let spec = deserialised(job.clone(), &at).map_err(|e| {
            let span = match e.span() {
                Some(span) => wrong_part(&job, &span, e.message()).unwrap_or(span),
                None => wrong_key(&job, e.message()).unwrap_or_else(|| at.clone()),
            };
            self.fault(Error::invalid(e.message()), span)
        })?;
        Ok(Entry { at, name: spec.display_name(), spec, needs })
    }

    fn check_keys(&self, job: &DeTable<'a>, at: &Range<usize>) -> Result<(), Fault> {
        for (key, _) in in_order_ref(job) {
            let name = key.get_ref().as_ref();
            if !SPEC_KEYS.contains(&name) {
                let error = Error::invalid(format!("a job has no '{name}'"));
                let error = match nearest(name, SPEC_KEYS.iter().copied()) {
                    Some(near) => error.hint(format!("did you mean {near}?")),
                    None => error.hint("qrm submit --help tells what it can have"),
                };
                return Err(self.fault(error, key.span()));
            }
        }
        for (text, number) in SAME {
            if let (Some(_), Some(second)) = (job.get(*text), job.get(*number)) {
                let error = Error::invalid(format!("'{text}' and '{number}' say the same thing; give one of them"));
                return Err(self.fault(error, second.span()));
            }
        }
        if !job.contains_key("command") {
            let error = Error::invalid("this job has no command");
            return Err(self
                .fault(error.hint("command = [\"make\", \"-j2\"], or command = \"make -j2 | tee log\""), at.clone()));
        }
        Ok(())
    }

    /// What they hold is read with the job; that they are tables of a list is easier said here.
    fn check_alternatives(&self, or: &Spanned<DeValue<'a>>) -> Result<(), Fault> {
        let wrong = match or.get_ref() {
            DeValue::Array(all) => all.iter().find(|one| !matches!(one.get_ref(), DeValue::Table(_))),
            _ => Some(or),
        };
        let Some(wrong) = wrong else { return Ok(()) };
        let error = Error::invalid("'or' is a list of tables, each with what the job would take instead");
        Err(self.fault(error.hint("write or = [{ cpus = 2, mem = \"8G\" }]"), wrong.span()))
    }

    /// Finds the jobs of the file in a list of dependencies; until they have ids, that of job 1 stands there.
    fn needs(
        &self,
        kind: After,
        list: &mut Spanned<DeValue<'a>>,
        (names, is_array): (&HashMap<String, usize>, bool),
        needs: &mut Vec<Need>,
    ) -> Result<(), Fault> {
        let span = list.span();
        if matches!(list.get_ref(), DeValue::String(_) | DeValue::Integer(_)) {
            let one = std::mem::replace(list.get_mut(), DeValue::Array(DeArray::new()));
            *list.get_mut() = list_of(Spanned::new(span, one));
        }
        // What is no list is refused when the job is read.
        let DeValue::Array(array) = list.get_mut() else { return Ok(()) };
        for (at, one) in array.iter_mut().enumerate() {
            let span = one.span();
            let text = match one.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.to_string(),
                _ => continue,
            };
            if let Some((job, on)) = of_file(&text, names) {
                if matches!(on, DependsOn::Each(_)) && !is_array {
                    let error =
                        Error::invalid(format!("'{text}' is the task with the same index, and this is no array"));
                    let whole = text.trim_end_matches(".*");
                    return Err(self.fault(error.hint(format!("write \"{whole}\" for all of it")), span));
                }
                *one.get_mut() = DeValue::String(on.to_string().into());
                needs.push(Need { kind, at, job, span });
            } else if text.parse::<DependsOn>().is_ok() {
                *one.get_mut() = DeValue::String(text.into());
            } else {
                let error = Error::invalid(format!("no job of this file is named '{text}', and it is not an id"));
                let error = match nearest(&text, names.keys().map(String::as_str)) {
                    Some(near) => error.hint(format!("did you mean \"{near}\"?")),
                    None => error.hint(
                        "a job is named by its 'name', tasks of an array as \"name.3\" or \"name.*\", others by id",
                    ),
                };
                return Err(self.fault(error, span));
            }
        }
        Ok(())
    }

    /// A time as people write it becomes one as programs do.
    fn time(&self, value: &mut Spanned<DeValue<'a>>) -> Result<(), Fault> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Datetime(time) => time.to_string(),
            _ => return Ok(()),
        };
        let time = instant(&text).map_err(|why| self.fault(Error::invalid(why), value.span()))?;
        *value.get_mut() = DeValue::String(time.to_string().into());
        Ok(())
    }

    fn chdir(&self, value: &mut Spanned<DeValue<'a>>) -> Result<(), Fault> {
        // Bytes that are no text are an absolute path already.
        let Some(text) = value.get_ref().as_str() else { return Ok(()) };
        let absolute = directory(Path::new(text)).map_err(|error| self.fault(error, value.span()))?;
        if let Ok(absolute) = String::from_utf8(absolute.into_bytes()) {
            *value.get_mut() = DeValue::String(absolute.into());
        }
        Ok(())
    }
}

/// Two ways to say one thing, of which a job has one.
const SAME: &[(&str, &str)] = &[
    ("time", "time_limit_ms"),
    ("mem", "mem_bytes"),
    ("disk", "disk_bytes"),
    ("grace", "grace_ms"),
    ("queue_timeout", "queue_timeout_ms"),
    ("min_run", "min_run_ms"),
];

/// A job with what the file says of all.
fn merged<'a>(mut job: DeTable<'a>, defaults: &DeTable<'a>) -> DeTable<'a> {
    for (key, value) in defaults {
        let name = key.get_ref().as_ref();
        let other = SAME.iter().find_map(|(a, b)| match name {
            _ if name == *a => Some(*b),
            _ if name == *b => Some(*a),
            _ => None,
        });
        if other.is_some_and(|other| job.contains_key(other)) {
            continue;
        }
        match (job.get_mut(name).map(Spanned::get_mut), value.get_ref()) {
            (None, _) => {
                job.insert(key.clone(), value.clone());
            }
            (Some(DeValue::Table(own)), DeValue::Table(all)) if matches!(name, "env" | "labels") => {
                for (variable, value) in all {
                    if !own.contains_key(variable.get_ref().as_ref()) {
                        own.insert(variable.clone(), value.clone());
                    }
                }
            }
            (Some(_), _) => {}
        }
    }
    job
}

/// The job of the file that a dependency names, and what of it is waited for, as if it were job 1.
fn of_file(text: &str, names: &HashMap<String, usize>) -> Option<(usize, DependsOn)> {
    if let Some(job) = names.get(text) {
        return Some((*job, DependsOn::One(JobId(1).into())));
    }
    let (name, task) = text.rsplit_once('.')?;
    let job = *names.get(name)?;
    // Read as part of an id, so that both have the same bounds.
    Some((job, format!("1.{task}").parse().ok()?))
}

/// A text becomes the shell's.
fn shell(command: &mut Spanned<DeValue<'_>>) {
    let span = command.span();
    if let DeValue::String(text) = command.get_mut() {
        let text = std::mem::take(text);
        let words = if text.trim().is_empty() { vec!["".into()] } else { vec!["/bin/sh".into(), "-c".into(), text] };
        let word = |word: Cow<'_, str>| Spanned::new(span.clone(), DeValue::String(word.into_owned().into()));
        *command.get_mut() = DeValue::Array(words.into_iter().map(word).collect());
    }
}

fn deserialised(job: DeTable<'_>, at: &Range<usize>) -> Result<JobSpec, toml::de::Error> {
    JobSpec::deserialize(toml::de::Deserializer::from(Spanned::new(at.clone(), job)))
}

/// Where the value is that alone has the job refused in these words.
fn wrong_key(job: &DeTable<'_>, message: &str) -> Option<Range<usize>> {
    in_order_ref(job).into_iter().find(|(key, value)| is_refused(key, (*value).clone(), message)).map(|(_, v)| v.span())
}

/// Of a list that is refused in these words, where the part is that alone has it refused so.
fn wrong_part(job: &DeTable<'_>, list: &Range<usize>, message: &str) -> Option<Range<usize>> {
    let (key, value) = job.iter().find(|(_, value)| value.span() == *list)?;
    let wrong = |one: &&Spanned<DeValue<'_>>| {
        is_refused(key, Spanned::new(list.clone(), list_of(Spanned::clone(one))), message)
    };
    value.get_ref().as_array()?.iter().find(wrong).map(Spanned::span)
}

fn list_of(one: Spanned<DeValue<'_>>) -> DeValue<'_> {
    DeValue::Array([one].into_iter().collect())
}

/// Whether a job with nothing but this is refused in these words.
fn is_refused<'a>(key: &Spanned<Cow<'a, str>>, value: Spanned<DeValue<'a>>, message: &str) -> bool {
    let mut alone = DeTable::new();
    let fine = list_of(Spanned::new(0..0, DeValue::String("true".into())));
    alone.insert(Spanned::new(0..0, "command".into()), Spanned::new(0..0, fine));
    alone.insert(key.clone(), value);
    deserialised(alone, &(0..0)).is_err_and(|e| e.message() == message)
}

pub(super) type Pair<'a> = (Spanned<Cow<'a, str>>, Spanned<DeValue<'a>>);

/// Keys in the order of the file, so that of several mistakes the first is told.
pub(super) fn in_order<'a>(table: DeTable<'a>) -> Vec<Pair<'a>> {
    let mut pairs: Vec<Pair<'a>> = table.into_iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}

pub(super) fn in_order_ref<'t, 'a>(
    table: &'t DeTable<'a>,
) -> Vec<(&'t Spanned<Cow<'a, str>>, &'t Spanned<DeValue<'a>>)> {
    let mut pairs: Vec<_> = table.iter().collect();
    pairs.sort_by_key(|(key, _)| key.span().start);
    pairs
}
