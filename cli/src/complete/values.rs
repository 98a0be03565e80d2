//! What completes each kind of argument: ids, terms of a filter, signals, words, commands, files.
//! It refuses to offer what a shell would read as more than one plain word.

use super::live::{self, Which};
use crate::commands::manual;
use clap_complete::engine::CompletionCandidate as Candidate;
use clap_complete::engine::{ArgValueCandidates, ArgValueCompleter, PathCompleter, ValueCompleter};
use qrm_protocol::explain::OfferView;
use qrm_protocol::filter::{FIELDS, Field, Kind};
use qrm_protocol::job::{FailureCause, JobState, JobView};
use qrm_protocol::method::{Empty, JobList, JobParams, JobShow, ListParams, QueueList};
use qrm_protocol::signal::Signal;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Ids of the jobs that a verb could be about, and terms of a filter.
pub(crate) fn ids(which: Which) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        let typed = typed.to_str().unwrap_or_default();
        let mut all = offered(typed, which);
        // Where there is something to be done to, a filter is for who begins to write one; a list is all filter.
        if all.is_empty() || !typed.is_empty() || which == Which::Recent {
            all.extend(terms(typed));
        }
        all
    })
}

/// Ids alone.
pub(crate) fn just_ids(which: Which) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| offered(typed.to_str().unwrap_or_default(), which))
}

/// Ids alone, those of jobs that run before others.
pub(crate) fn running_first() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let typed = typed.to_str().unwrap_or_default();
        let running = offered(typed, Which::Running);
        let known: BTreeSet<OsString> = running.iter().map(|one| one.get_value().to_owned()).collect();
        let others = offered(typed, Which::Recent).into_iter().filter(|one| !known.contains(one.get_value()));
        running.into_iter().chain(others.collect::<Vec<_>>()).collect()
    })
}

/// Terms of a filter; an id is one.
pub(crate) fn filter() -> ArgValueCompleter {
    ids(Which::Recent)
}

/// Signals by their names.
pub(crate) fn signals() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let named = (1..32).filter_map(Signal::new).map(|signal| signal.to_string());
        named.map(Candidate::new).collect()
    })
}

/// The queues that there are.
pub(crate) fn queues() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let reply = live::ask(|mut client| client.call::<QueueList>(&Empty {}));
        let queues = reply.map(|reply| reply.queues).unwrap_or_default();
        queues.into_iter().map(|queue| Candidate::new(queue.name.to_string())).collect()
    })
}

/// Offers that could be accepted, to the jobs that were submitted last.
pub(crate) fn offers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let params = ListParams { filter: vec!["state=queued".to_owned()], limit: Some(20), before: None };
        let offered = live::ask(move |mut client| {
            let mut offered = Vec::new();
            for job in client.call::<JobList>(&params)?.jobs {
                offered.extend(client.call::<JobShow>(&JobParams { id: job.id })?.offers);
            }
            Ok(offered)
        });
        let candidate = |view: OfferView| Candidate::new(view.id.to_string()).help(Some(view.offer.to_string().into()));
        offered.unwrap_or_default().into_iter().map(candidate).collect()
    })
}

/// These words.
pub(crate) fn words<const N: usize>(all: [&'static str; N]) -> ArgValueCandidates {
    ArgValueCandidates::new(move || all.iter().map(Candidate::new).collect())
}

/// A file, or - for standard input.
pub(crate) fn file() -> ArgValueCompleter {
    ArgValueCompleter::new(PathCompleter::any().stdio())
}

/// What there is a page of: the verbs, those below `daemon`, and what is about none.
pub(crate) fn pages() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let tree = crate::command();
        let above =
            super::before().last().and_then(|word| tree.find_subcommand(word)).filter(|verb| verb.has_subcommands());
        let verbs = above.unwrap_or(&tree).get_subcommands();
        let verbs = verbs.map(|verb| Candidate::new(verb.get_name().to_owned()).help(verb.get_about().cloned()));
        let others = manual::pages(&tree).filter(|_| above.is_none()).map(Candidate::new);
        let typed = typed.to_str().unwrap_or_default();
        let fits = verbs.chain(others).filter(|page| page.get_value().to_string_lossy().starts_with(typed));
        fits.collect()
    })
}

/// A program, and then its arguments.
pub(crate) fn command() -> ArgValueCompleter {
    ArgValueCompleter::new(|typed: &OsStr| {
        let name = typed.to_str().unwrap_or_default();
        // All programs that there are would be no help.
        let mut all = if !name.is_empty() && begins_a_command(&super::before()) { programs(name) } else { Vec::new() };
        all.extend(PathCompleter::any().complete(typed));
        all
    })
}

/// Whether what comes next is the program: after `--` it is, and before that after the verb and its options.
fn begins_a_command(before: &[OsString]) -> bool {
    let is_option = |word: &OsString| word.as_encoded_bytes().starts_with(b"-");
    match before {
        [.., last] if last == "--" => true,
        _ if before.iter().any(|word| word == "--") => false,
        [.., option, last] => is_option(option) || is_option(last) || last == "submit" || last == "run",
        _ => false,
    }
}

/// What can be executed by a name alone.
fn programs(typed: &str) -> Vec<Candidate> {
    use std::os::unix::fs::PermissionsExt;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|dir| std::fs::read_dir(dir).ok()).flatten().flatten();
    let found = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok().filter(|name| name.starts_with(typed))?;
        let file = std::fs::metadata(entry.path()).ok()?;
        (file.is_file() && file.permissions().mode() & 0o111 != 0).then_some(name)
    });
    found.collect::<BTreeSet<_>>().into_iter().map(Candidate::new).collect()
}

fn offered(typed: &str, which: Which) -> Vec<Candidate> {
    live::beginning_with(typed, which).iter().map(|job| Candidate::new(job.id.to_string()).help(about(job))).collect()
}

/// A word on a job, beside its id.
fn about(job: &JobView) -> Option<clap::builder::StyledStr> {
    let name: String = crate::render::clean(&job.name).chars().take(40).collect();
    Some(format!("{name} ({})", job.state).into())
}

/// A field, or what follows its sign.
fn terms(typed: &str) -> Vec<Candidate> {
    let Some(at) = typed.find(['=', '!', '<', '>', '~']) else {
        let fields = FIELDS.iter().filter(|(name, ..)| name.starts_with(typed));
        return fields.map(|(name, ..)| Candidate::new(format!("{name}="))).collect();
    };
    let (name, rest) = typed.split_at(at);
    let Some((.., field, kind)) = FIELDS.iter().find(|(short, key, ..)| *short == name || *key == name) else {
        return Vec::new();
    };
    let values = rest.trim_start_matches(['=', '!', '<', '>', '~']);
    let last = values.rsplit(',').next().unwrap_or_default();
    let before = &typed[..typed.len() - last.len()];
    let all = match (field, kind) {
        (_, Kind::State) => {
            JobState::ALL.map(JobState::word).into_iter().chain(["live", "ended"]).map(Candidate::new).collect()
        }
        (Field::Cause, _) => CAUSES.iter().filter_map(cause).map(Candidate::new).collect(),
        (Field::Name, _) => known(field, last, |job| &job.name),
        (Field::User, _) => known(field, last, |job| &job.user),
        (Field::Queue, _) => known(field, last, |job| job.queue.as_str()),
        (_, Kind::Id) => offered(last, Which::Recent),
        _ => Vec::new(),
    };
    let fits = all.into_iter().filter(|candidate| candidate.get_value().to_string_lossy().starts_with(last));
    fits.map(|candidate| candidate.add_prefix(before)).collect()
}

/// What a job can fail of.
const CAUSES: [FailureCause; 10] = [
    FailureCause::Exit,
    FailureCause::Signal,
    FailureCause::Oom,
    FailureCause::Timeout,
    FailureCause::Limit,
    FailureCause::Lost,
    FailureCause::Dependency,
    FailureCause::Stage,
    FailureCause::Store,
    FailureCause::Preempted,
];

fn cause(cause: &FailureCause) -> Option<String> {
    serde_json::to_value(cause).ok()?.as_str().map(str::to_owned)
}

/// What the newest jobs have there, or those that have what was typed in it.
fn known(field: &Field, typed: &str, of: fn(&JobView) -> &str) -> Vec<Candidate> {
    let name = FIELDS.iter().find(|(.., known, _)| known == field).map(|(name, ..)| *name);
    let filter = match name {
        _ if typed.is_empty() => Vec::new(),
        Some(name) if is_plain(typed) => vec![format!("{name}~{typed}")],
        _ => return Vec::new(),
    };
    let params = ListParams { filter, limit: Some(100), before: None };
    let jobs = live::ask(move |mut client| client.call::<JobList>(&params)).map(|reply| reply.jobs).unwrap_or_default();
    let values: BTreeSet<&str> = jobs.iter().map(of).filter(|value| is_plain(value)).collect();
    values.into_iter().map(Candidate::new).collect()
}

/// Whether it is one word to any shell, and one value of a filter: a name is somebody else's text.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || "-_+./@%^".contains(c))
}
