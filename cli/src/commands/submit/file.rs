//! Job files: TOML with `[defaults]` and a `[[job]]` for each job, which may wait for others of the file by name.
//! It refuses to look into a job.

use super::bulk::{self, After, Link, Linked};
use super::entry::{Entry, Table, in_order, in_order_ref};
use super::names;
use crate::Context;
use crate::commands::spec::Foretold;
use crate::render::Tone;
use crate::render::excerpt::Fault;
use crate::render::table::table;
use qrm_protocol::error::{Code, Error, nearest};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::DependsOn;
use serde::Serialize;
use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// The longest job file, in bytes: to read it takes up to fifty times as much memory.
const MAX_BYTES: u64 = 16 << 20;
/// The most jobs for which a terminal gets a table.
const MAX_ROWS: usize = 50;

/// Queues all jobs of the file, or none.
pub(super) fn submit(context: &Context, path: &Path, dry_run: bool) -> Result<u8, Fault> {
    let name = path.display().to_string();
    let bytes = read(path, &name)?;
    let text = utf8(&name, &bytes)?;
    let source = Source { name: &name, text };
    let entries = source.entries()?;
    let order = source.order(&entries)?;
    if dry_run {
        return source.foretell(context, entries);
    }
    let mut place = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, job)| place[*job] = at);
    let (mut shown, mut jobs) = (Vec::new(), Vec::new());
    for entry in entries {
        let links = entry.needs.iter().map(|need| Link { kind: need.kind, at: need.at, job: place[need.job] });
        jobs.push(Some(Linked { links: links.collect(), spec: entry.spec }));
        shown.push((entry.at, entry.name));
    }
    let in_order = order.iter().filter_map(|job| jobs[*job].take());
    let ids = bulk::send(context, order.len(), in_order).map_err(|refused| match refused.place {
        Some(place) if place < order.len() => source.fault(refused.error, shown[order[place]].0.clone()),
        _ => refused.error.into(),
    })?;
    let rows = shown.into_iter().enumerate().map(|(job, (_, name))| Row { id: ids[place[job]], name });
    print(context, &rows.collect::<Vec<_>>());
    Ok(0)
}

#[derive(Serialize)]
struct Row {
    id: JobRef,
    name: String,
}

fn print(context: &Context, rows: &[Row]) {
    let out = &context.out;
    if out.json {
        out.document(&rows);
    } else if !out.terminal || out.quiet {
        out.print(&bulk::lines_of(&rows.iter().map(|row| row.id).collect::<Vec<_>>()));
    } else if rows.len() > MAX_ROWS {
        let ids = || rows.iter().map(|row| row.id);
        let (first, last) = (ids().min(), ids().max());
        let range = first.zip(last).map(|(first, last)| format!("{first} to {last}")).unwrap_or_default();
        out.print(&format!("{} jobs submitted, with ids from {range}\n", rows.len()));
    } else {
        let cells = rows.iter().map(|row| vec![(row.id.to_string(), Tone::Plain), (row.name.clone(), Tone::Plain)]);
        out.print(&table(out, &[("ID", true), ("NAME", false)], cells.collect()));
    }
}

fn read(path: &Path, name: &str) -> Result<Vec<u8>, Error> {
    let unreadable = |e: std::io::Error| {
        let error = Error::invalid(format!("the job file {name} can not be read: {e}"));
        error.hint(format!("if it is a command: qrm submit -- {name}"))
    };
    let mut bytes = Vec::new();
    std::fs::File::open(path).map_err(unreadable)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("the job file {name} is longer than {} MiB", MAX_BYTES >> 20);
        return Err(Error::new(Code::ResourceExhausted, message).hint("qrm submit --bulk takes as many jobs as lines"));
    }
    Ok(bytes)
}

pub(super) fn utf8<'a>(name: &str, bytes: &'a [u8]) -> Result<&'a str, Fault> {
    std::str::from_utf8(bytes).map_err(|wrong| {
        let at = wrong.valid_up_to();
        let end = bytes[at..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |length| at + length);
        // What comes before is text, and what is shown of the rest is made so.
        let text = String::from_utf8_lossy(&bytes[..end]);
        Fault::new(Error::invalid("this is not UTF-8"), name, &text, at..at + 1)
    })
}

/// So many of the jobs that wait in a circle are named.
const MAX_NAMES: usize = 6;

/// A job file and its name.
pub(super) struct Source<'a> {
    name: &'a str,
    text: &'a str,
}

impl<'a> Source<'a> {
    /// An error in a part of it.
    pub(super) fn fault(&self, error: Error, span: Range<usize>) -> Fault {
        Fault::new(error, self.name, self.text, span)
    }

    /// The jobs in the order of the file.
    fn entries(&self) -> Result<Vec<Entry>, Fault> {
        if let Some(at) = self.text.find('\0') {
            return Err(self.fault(Error::invalid("a NUL byte can not be part of a job file"), at..at + 1));
        }
        let (defaults, jobs) = self.parts()?;
        let names = self.names(&jobs)?;
        let read = jobs.into_iter().map(|job| self.entry(job, &defaults, &names));
        let entries: Vec<Entry> = read.collect::<Result<_, _>>()?;
        for entry in &entries {
            self.check_tasks(entry, &entries)?;
        }
        Ok(entries)
    }

    /// What all jobs have, and the jobs.
    fn parts(&self) -> Result<(DeTable<'a>, Vec<Table<'a>>), Fault> {
        let table = DeTable::parse(self.text)
            .map_err(|e| self.fault(Error::invalid(e.message()), e.span().unwrap_or_default()))?;
        let (mut defaults, mut jobs) = (DeTable::new(), Vec::new());
        let shape = |what: &str| Error::invalid(what).hint("write [defaults] once, and [[job]] before each job");
        for (key, value) in in_order(table.into_inner()) {
            match (key.get_ref().as_ref(), value.into_inner()) {
                ("defaults", DeValue::Table(table)) => defaults = table,
                ("job", DeValue::Array(array)) => {
                    for job in array {
                        let span = job.span();
                        let DeValue::Table(job) = job.into_inner() else {
                            return Err(self.fault(shape("a job is a table"), span));
                        };
                        jobs.push((span, job));
                    }
                }
                ("defaults", _) => return Err(self.fault(shape("'defaults' is one table"), key.span())),
                ("job", _) => return Err(self.fault(shape("'job' is a list of tables"), key.span())),
                (other, _) => {
                    let error = Error::invalid(format!("a job file has no '{other}'"));
                    let error = match nearest(other, ["defaults", "job"]) {
                        Some("job") => error.hint("did you mean [[job]]?"),
                        Some(near) => error.hint(format!("did you mean [{near}]?")),
                        None => error.hint("it has [defaults] and [[job]]; a key of a job stands below one of them"),
                    };
                    return Err(self.fault(error, key.span()));
                }
            }
        }
        self.check_defaults(&defaults)?;
        if jobs.is_empty() {
            let error = Error::invalid(format!("{} holds no job", self.name));
            return Err(error.hint("write [[job]], and below it command = \"make\"").into());
        }
        Ok((defaults, jobs))
    }

    fn check_defaults(&self, defaults: &DeTable<'a>) -> Result<(), Fault> {
        for (key, _) in in_order_ref(defaults) {
            if matches!(key.get_ref().as_ref(), "name" | "key") {
                let error = Error::invalid(format!("each job has a {} of its own", key.get_ref()));
                return Err(self.fault(error.hint("write it below [[job]]"), key.span()));
            }
        }
        Ok(())
    }

    /// Which job has which name.
    fn names(&self, jobs: &[Table<'a>]) -> Result<HashMap<String, usize>, Fault> {
        let mut names = HashMap::new();
        for (place, (_, job)) in jobs.iter().enumerate() {
            let Some(value) = job.get("name") else { continue };
            let Some(name) = value.get_ref().as_str() else { continue };
            if let Some(first) = names.insert(name.to_owned(), place) {
                let line = self.text[..jobs[first].0.start].matches('\n').count() + 1;
                let error = Error::invalid(format!("two jobs are named '{name}'; the other one is in line {line}"));
                return Err(self.fault(error, value.span()));
            }
        }
        Ok(names)
    }

    /// A task that a job waits for must be one of the array.
    fn check_tasks(&self, entry: &Entry, all: &[Entry]) -> Result<(), Fault> {
        for need in &entry.needs {
            let on = &all[need.job];
            let task = match need.kind.list(&entry.spec)[need.at] {
                DependsOn::One(one) => one.task,
                DependsOn::Each(_) if on.spec.array.is_none() => {
                    let error =
                        Error::invalid(format!("'{}' is no array, and has no task with the same index", on.name));
                    return Err(
                        self.fault(error.hint(format!("write \"{}\" for all of it", on.name)), need.span.clone())
                    );
                }
                // The first of its own that the other has not.
                DependsOn::Each(_) => entry.spec.array.zip(on.spec.array).and_then(|(own, others)| {
                    (0..own.count()).map(|n| own.first + n * own.step).find(|task| !others.contains(*task))
                }),
            };
            let Some(task) = task else { continue };
            if on.spec.array.is_none_or(|array| !array.contains(task)) {
                let error = Error::invalid(format!("'{}' has no task {task}", on.name));
                let error = match on.spec.array {
                    Some(array) => error.hint(format!("its tasks are {array}")),
                    None => error.hint("it is not an array"),
                };
                return Err(self.fault(error, need.span.clone()));
            }
        }
        Ok(())
    }

    /// Says of each job what would become of it.
    fn foretell(&self, context: &Context, entries: Vec<Entry>) -> Result<u8, Fault> {
        let mut client = context.connect()?;
        let names: Vec<String> = entries.iter().map(|entry| entry.name.clone()).collect();
        let mut rows = Vec::new();
        for entry in entries {
            let Entry { at, mut spec, needs, .. } = entry;
            // Those that are not queued yet are nothing that the daemon could know of; each list from its end.
            for need in needs.iter().rev() {
                need.kind.list_mut(&mut spec).remove(need.at);
            }
            spec.any &= After::ALL.iter().any(|kind| !kind.list(&spec).is_empty());
            let mut row = Foretold::of(&mut client, spec).map_err(|error| self.fault(error, at))?;
            if row.reply.existing.is_none() && !needs.is_empty() {
                let on = needs.iter().map(|need| format!("{} of {}", need.kind.word(), names[need.job]));
                row.reply.starts = false;
                row.reply.waiting_reason = Some(format!("after {}", on.collect::<Vec<_>>().join(", ")));
            }
            rows.push(row);
        }
        Foretold::print(context, &rows);
        Ok(0)
    }

    /// The jobs so that each comes after those that it waits for.
    fn order(&self, entries: &[Entry]) -> Result<Vec<usize>, Fault> {
        let waits_for: Vec<Vec<usize>> =
            entries.iter().map(|entry| entry.needs.iter().map(|need| need.job).collect()).collect();
        names::order(&waits_for).map_err(|circle| {
            let name = |place: usize| format!("'{}'", entries[place].name);
            let next = circle.get(1).unwrap_or(&circle[0]);
            let span = entries[circle[0]].needs.iter().find(|need| need.job == *next).map(|need| need.span.clone());
            let names: Vec<String> = circle.iter().take(MAX_NAMES).map(|place| name(*place)).collect();
            let message = match circle.len() {
                1 => format!("{} waits for itself", names[0]),
                n if n > MAX_NAMES => format!("{n} jobs wait in a circle: {} and so on", names.join(" for ")),
                _ => format!("jobs wait in a circle: {} for {}", names.join(" for "), names[0]),
            };
            self.fault(Error::invalid(message), span.unwrap_or_else(|| entries[circle[0]].at.clone()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reads a file as far as that needs no daemon; whether it was taken.
    fn taken(bytes: &[u8]) -> bool {
        let read = utf8("f", bytes).and_then(|text| {
            let source = Source { name: "f", text };
            let entries = source.entries()?;
            let order = source.order(&entries)?;
            assert_eq!(order.len(), entries.len());
            Ok(())
        });
        read.inspect_err(|fault| assert!(!fault.message().is_empty())).is_ok()
    }

    const PIPELINE: &str = include_str!("../../../examples/pipeline/pipeline.toml");

    #[test]
    fn the_example_is_taken() {
        assert!(taken(PIPELINE.as_bytes()));
    }

    fn entries(text: &str) -> Result<Vec<Entry>, String> {
        Source { name: "f", text }.entries().map_err(|fault| fault.message().to_owned())
    }

    #[test]
    fn a_task_waits_for_the_one_with_its_index_if_both_are_of_arrays() {
        let file = |first: &str, second: &str, after: &str| {
            format!(
                "[[job]]\nname = 'a.b'\ncommand = 'x'\n{first}\n[[job]]\ncommand = 'y'\n{second}\nafter_ok = {after}\n"
            )
        };
        let array = "array = '0-3'";
        let jobs = entries(&file(array, array, "['7', 'a.b.*', 'a.b.2', '8.*']")).unwrap();
        let shown: Vec<String> = jobs[1].spec.after_ok.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["7", "1.*", "1.2", "8.*"]);
        let needs: Vec<_> = jobs[1].needs.iter().map(|need| (need.at, need.job)).collect();
        assert_eq!(needs, [(1, 0), (2, 0)]);
        for (first, second, after, says) in [
            (array, "", "'a.b.*'", "f:8:12: 'a.b.*' is the task with the same index, and this is no array"),
            ("", array, "'a.b.*'", "f:8:12: 'a.b' is no array, and has no task with the same index"),
            (array, "", "'8.*'", "f:8:12: 8.* means the task with the same index, and this job is no array"),
            (array, array, "'c.*'", "f:8:12: no job of this file is named 'c.*', and it is not an id"),
            (array, array, "'a.b.4'", "f:8:12: 'a.b' has no task 4"),
            (array, "array = '2-6:2'", "'a.b.*'", "f:8:12: 'a.b' has no task 4"),
        ] {
            assert_eq!(entries(&file(first, second, after)).unwrap_err(), says);
        }
    }

    #[test]
    fn alternatives_are_tables_with_the_keys_of_a_job() {
        let file = |or: &str| entries(&format!("[defaults]\nor = {or}\n[[job]]\ncommand = 'x'\nmin_run_ms = 0\n"));
        let jobs = file("[{ cpus = 2, mem = '8G' }, { exclusive = true, time_limit_ms = 1000 }]").unwrap();
        let shown: Vec<String> = jobs[0].spec.variants.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["--cpus 2 --mem 8G", "--time 1.0s --exclusive"]);
        for (or, says) in [
            ("'--cpus 2'", "f:2:6: 'or' is a list of tables, each with what the job would take instead"),
            (
                "[{ cpus = 1 }, '--cpus 2']",
                "f:2:21: 'or' is a list of tables, each with what the job would take instead",
            ),
            ("[{ mem = '1G', mem_bytes = 1 }]", "f:2:7: 'mem' and 'mem_bytes' say the same thing; give one of them"),
            ("[{}]", "f:2:6: an alternative that names nothing"),
        ] {
            assert_eq!(file(or).unwrap_err(), says);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_end_the_process(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            taken(&bytes);
        }

        #[test]
        fn no_table_ends_the_process(
            text in "(\\[\\[job\\]\\]\n|\\[defaults\\]\n|(name|command|after_ok|time|env|array|begin|retry_on|any|or) = \
                (\"\\PC{0,6}\"|\\[\"[a-c](\\.[0-9*])?\"\\]|\\[\\{ (cpus = [0-9]|mem = \"8G\"|x = 1) \\}\\]|\"[a-c]\"|[0-9-]{1,3}|\\{ A = \"x\" \\}|true)\n){0,12}",
        ) {
            taken(text.as_bytes());
        }

        #[test]
        fn no_change_of_an_example_ends_the_process(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..3), 1..4),
        ) {
            let mut bytes = PIPELINE.as_bytes().to_vec();
            for (at, byte, how) in changes {
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, byte),
                    _ => drop(bytes.remove(at)),
                }
            }
            taken(&bytes);
        }
    }
}
