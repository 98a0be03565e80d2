//! How a job is to be placed beside others: its queue, its alternatives, whom it makes room for, what it waits for. Options
//! that submit, run, when and update share. It refuses to know whether it can have that.

use super::alternative::alternative;
use crate::complete::{Which, just_ids, queues, signals, words};
use clap::Args;
use qrm_protocol::error::Error;
use qrm_protocol::job::{DependsOn, JobChange, JobSpec, OnConflict, Variant};
use qrm_protocol::queue::QueueName;
use qrm_protocol::signal::Signal;
use qrm_protocol::time::Millis;
use std::str::FromStr;

/// What is not given is as it was, or as it is by default.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct Wishes {
    /// The queue that it waits in; by default that is `default`. `qrm queue list` shows them, with their defaults for jobs that
    /// do not set them.
    #[arg(long, value_name = "NAME", add = queues())]
    queue: Option<QueueName>,
    /// What it would take instead, as '--cpus 2 --mem 8G': --cpus, --mem, --disk, --time, --exclusive and --shared; what is
    /// not said is as it is asked for. May be repeated, in order of preference; the word none empties the list.
    #[arg(long, value_name = "OPTIONS", allow_hyphen_values = true, value_parser = or)]
    or: Vec<OrNone<Variant>>,
    /// It wants the machine for itself: nothing else runs while it does.
    #[arg(long, overrides_with = "no_exclusive")]
    exclusive: bool,
    /// It runs beside others, which is the default.
    #[arg(long, overrides_with = "exclusive")]
    no_exclusive: bool,
    /// It only fills gaps: it comes after all others, and makes room for each of them.
    #[arg(long, overrides_with = "no_idle")]
    idle: bool,
    /// It takes its turn, which is the default.
    #[arg(long, overrides_with = "idle")]
    no_idle: bool,
    /// It may have to make room for jobs of a higher class, and then waits for its next attempt. The classes: idle, priority
    /// below 50, 50 to 74, 75 to 99, 100.
    #[arg(long, overrides_with = "no_preemptible")]
    preemptible: bool,
    /// It has to make room for nobody, unless its queue says so; this is the default.
    #[arg(long, overrides_with = "preemptible")]
    no_preemptible: bool,
    /// What tells it to save its work when it has to make room: a name as USR1, or a number; it has --grace to do so. By
    /// default, and with none, it is what asks it to end. Jobs that may go on later, which are those with this, with --retries, and
    /// preemptible and idle ones, have a directory for that: QRM_CHECKPOINT_DIR is the same for each attempt, and goes when the
    /// job has completed.
    #[arg(long, value_name = "SIGNAL", add = signals())]
    checkpoint_signal: Option<OrNone<Signal>>,
    /// It has not to make room before it has run for so long, as 30m; 0 is at once, which is the default.
    #[arg(long, value_name = "DURATION")]
    min_run: Option<Millis>,
    /// What is done if it can not start at once. priority: it waits, and who ranks higher goes first. preemption: and
    /// preemptible jobs of a lower class make room. sharing: with --exclusive, it runs beside others if that is possible.
    /// queuing: its priority counts as 50 and its fair shares as a half, so that among such jobs age alone decides.
    /// negotiation: it waits, and is offered what it could have instead, once, when it is submitted alone and only room is
    /// wanting; see `qrm offer --help`. By default, and with none, it is what its queue says, and priority if
    /// that says nothing.
    #[arg(long, value_name = "WAY", add = words(OnConflict::ALL.map(OnConflict::word)))]
    on_conflict: Option<OrNone<OnConflict>>,
    /// After these have ended, however: ids as 12, 12.3, or for an array 12.*, the task with the same index; separated by
    /// commas; the word none empties the list.
    #[arg(long, value_name = "ID", value_delimiter = ',', add = just_ids(Which::Live))]
    after: Vec<OrNone<DependsOn>>,
    /// After these have completed; cancelled if one does not; the word none empties the list.
    #[arg(long, value_name = "ID", value_delimiter = ',', add = just_ids(Which::Live))]
    after_ok: Vec<OrNone<DependsOn>>,
    /// After these have failed; cancelled if one does not; the word none empties the list.
    #[arg(long, value_name = "ID", value_delimiter = ',', add = just_ids(Which::Live))]
    after_fail: Vec<OrNone<DependsOn>>,
    /// After these have started; the word none empties the list.
    #[arg(long, value_name = "ID", value_delimiter = ',', add = just_ids(Which::Live))]
    after_start: Vec<OrNone<DependsOn>>,
    /// One of the dependencies is enough.
    #[arg(long, overrides_with = "all")]
    any: bool,
    /// All of the dependencies count, which is the default.
    #[arg(long, overrides_with = "any")]
    all: bool,
}

/// A value, or one of a list, or the word that there is to be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OrNone<T> {
    None,
    One(T),
}

impl<T> OrNone<T> {
    /// The value.
    pub(super) fn one(self) -> Option<T> {
        if let Self::One(one) = self { Some(one) } else { None }
    }
}

impl<T: FromStr> FromStr for OrNone<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::One) }
    }
}

fn or(text: &str) -> Result<OrNone<Variant>, String> {
    if text == "none" { Ok(OrNone::None) } else { alternative(text).map(OrNone::One) }
}

/// Of two options of which the later one counts, which was given.
pub(super) fn either(yes: bool, no: bool) -> Option<bool> {
    (yes || no).then_some(yes)
}

/// A list, or another where it says nothing.
pub(super) fn either_list<T>(these: Vec<T>, others: Vec<T>) -> Vec<T> {
    if these.is_empty() { others } else { these }
}

/// The list that was given; nothing if none was.
fn list<T>(given: Vec<OrNone<T>>, option: &str) -> Result<Option<Vec<T>>, Error> {
    if given.is_empty() {
        return Ok(None);
    }
    let count = given.len();
    let list: Vec<T> = given.into_iter().filter_map(OrNone::one).collect();
    // `none` once, or not at all.
    if list.len() == count || list.is_empty() && count == 1 {
        return Ok(Some(list));
    }
    Err(Error::invalid(format!("{option}: none stands alone")).hint("leave it out, or all that is beside it"))
}

impl Wishes {
    /// These, and of the others what these do not say.
    pub(super) fn over(self, others: Self) -> Self {
        let pair = |these: (bool, bool), others: (bool, bool)| if these.0 || these.1 { these } else { others };
        let (exclusive, no_exclusive) =
            pair((self.exclusive, self.no_exclusive), (others.exclusive, others.no_exclusive));
        let (idle, no_idle) = pair((self.idle, self.no_idle), (others.idle, others.no_idle));
        let (preemptible, no_preemptible) =
            pair((self.preemptible, self.no_preemptible), (others.preemptible, others.no_preemptible));
        let (any, all) = pair((self.any, self.all), (others.any, others.all));
        Self {
            queue: self.queue.or(others.queue),
            or: either_list(self.or, others.or),
            exclusive,
            no_exclusive,
            idle,
            no_idle,
            preemptible,
            no_preemptible,
            checkpoint_signal: self.checkpoint_signal.or(others.checkpoint_signal),
            min_run: self.min_run.or(others.min_run),
            on_conflict: self.on_conflict.or(others.on_conflict),
            after: either_list(self.after, others.after),
            after_ok: either_list(self.after_ok, others.after_ok),
            after_fail: either_list(self.after_fail, others.after_fail),
            after_start: either_list(self.after_start, others.after_start),
            any,
            all,
        }
    }

    /// What they change.
    ///
    /// # Errors
    /// `none` beside something.
    pub(super) fn change(self) -> Result<JobChange, Error> {
        Ok(JobChange {
            queue: self.queue,
            variants: list(self.or, "--or")?,
            exclusive: either(self.exclusive, self.no_exclusive),
            idle: either(self.idle, self.no_idle),
            preemptible: either(self.preemptible, self.no_preemptible),
            checkpoint_signal: self.checkpoint_signal.map(OrNone::one),
            min_run_ms: self.min_run,
            on_conflict: self.on_conflict.map(OrNone::one),
            after: list(self.after, "--after")?,
            after_ok: list(self.after_ok, "--after-ok")?,
            after_fail: list(self.after_fail, "--after-fail")?,
            after_start: list(self.after_start, "--after-start")?,
            any: either(self.any, self.all),
            ..JobChange::default()
        })
    }

    /// The same job with these.
    ///
    /// # Errors
    /// `none` beside something.
    pub(super) fn on(self, job: JobSpec) -> Result<JobSpec, Error> {
        let change = self.change()?;
        Ok(JobSpec {
            queue: change.queue,
            variants: change.variants.unwrap_or_default(),
            exclusive: change.exclusive.unwrap_or_default(),
            idle: change.idle.unwrap_or_default(),
            preemptible: change.preemptible.unwrap_or_default(),
            checkpoint_signal: change.checkpoint_signal.flatten(),
            min_run_ms: change.min_run_ms,
            on_conflict: change.on_conflict.flatten(),
            after: change.after.unwrap_or_default(),
            after_ok: change.after_ok.unwrap_or_default(),
            after_fail: change.after_fail.unwrap_or_default(),
            after_start: change.after_start.unwrap_or_default(),
            any: change.any.unwrap_or_default(),
            ..job
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    #[command(no_binary_name = true)]
    struct Line {
        #[command(flatten)]
        wishes: Wishes,
    }

    fn wishes(words: &[&str]) -> Wishes {
        Line::try_parse_from(words).unwrap_or_else(|e| panic!("{words:?}: {e}")).wishes
    }

    fn change(words: &[&str]) -> String {
        match wishes(words).change() {
            Ok(change) => serde_json::to_string(&change).unwrap(),
            Err(error) => error.message,
        }
    }

    #[test]
    fn only_what_is_said_is_changed_and_none_takes_a_list_away() {
        for (words, json) in [
            (&[][..], "{}"),
            (&["--queue", "night"], r#"{"queue":"night"}"#),
            (
                &["--or", "--cpus 2 --mem 1G", "--or", "--shared"],
                r#"{"or":[{"cpus":2,"mem_bytes":1073741824},{"exclusive":false}]}"#,
            ),
            (&["--or", "none"], r#"{"or":[]}"#),
            (&["--exclusive", "--no-idle", "--preemptible"], r#"{"exclusive":true,"idle":false,"preemptible":true}"#),
            (&["--exclusive", "--no-exclusive", "--any", "--all"], r#"{"exclusive":false,"any":false}"#),
            (&["--after", "12,13.4,14.*", "--after-ok", "none"], r#"{"after":["12","13.4","14.*"],"after_ok":[]}"#),
            (&["--min-run", "0", "--on-conflict", "queuing"], r#"{"min_run_ms":0,"on_conflict":"queuing"}"#),
            (
                &["--checkpoint-signal", "none", "--on-conflict", "none"],
                r#"{"checkpoint_signal":null,"on_conflict":null}"#,
            ),
            (&["--after", "none,12"], "--after: none stands alone"),
            (&["--or", "none", "--or", "none"], "--or: none stands alone"),
        ] {
            assert_eq!(change(words), json, "{words:?}");
        }
    }

    #[test]
    fn what_is_typed_wins_over_what_a_script_says() {
        let line = "--queue night --exclusive --after 12 --or=--cpus=1 --any --on-conflict sharing";
        let script = || wishes(&line.split(' ').collect::<Vec<_>>());
        for (typed, json) in [
            (
                &[][..],
                r#"{"queue":"night","or":[{"cpus":1}],"exclusive":true,"on_conflict":"sharing","after":["12"],"any":true}"#,
            ),
            (
                &[
                    "--no-exclusive",
                    "--after",
                    "none",
                    "--or",
                    "none",
                    "--all",
                    "--queue",
                    "day",
                    "--on-conflict",
                    "none",
                ],
                r#"{"queue":"day","or":[],"exclusive":false,"on_conflict":null,"after":[],"any":false}"#,
            ),
        ] {
            let both = wishes(typed).over(script()).change().unwrap();
            assert_eq!(serde_json::to_string(&both).unwrap(), json, "{typed:?}");
        }
    }
}
