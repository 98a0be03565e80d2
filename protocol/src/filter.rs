//! The filter language of lists and verbs: `state=queued user=alice mem>8G name~train`.
//! It reads terms and can tell whether a job matches; how a store finds the jobs is not known here.

use crate::amount::Bytes;
use crate::error::{Error, nearest};
use crate::ids::{JobId, JobRef};
use crate::job::{JobState, JobView};
use crate::text::OsText;
use crate::time::{Millis, Timestamp};
use jiff::Zoned;
use std::str::FromStr;

/// The most values of one filter, in all its terms together; SQLite takes 32,766 parameters, and a value is up to seven.
pub const MAX_TERMS: usize = 1_000;
/// The longest term, in bytes.
pub const MAX_TERM_BYTES: usize = 4_096;

/// What of a job a term looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// The id; a job's id means its tasks too.
    Id,
    /// The array of a task.
    Array,
    /// The name.
    Name,
    /// The submitter.
    User,
    /// The queue.
    Queue,
    /// The command, as one would type it.
    Command,
    /// The working directory.
    Cwd,
    /// The comment.
    Comment,
    /// The state.
    State,
    /// `failure.cause`.
    Cause,
    /// The attempt.
    Attempt,
    /// The priority.
    Priority,
    /// The cpus.
    Cpus,
    /// The exit code.
    ExitCode,
    /// The signal.
    Signal,
    /// The memory asked for.
    Mem,
    /// The most memory used.
    Peak,
    /// The time limit.
    Time,
    /// The cpu time used.
    CpuTime,
    /// When it was submitted.
    Submitted,
    /// When it was started.
    Started,
    /// When it ended.
    Ended,
    /// A label, whose name the term has.
    Label,
}

/// Every field: its name, the name of its key in `--json`, and what its values are.
pub const FIELDS: &[(&str, &str, Field, Kind)] = &[
    ("id", "id", Field::Id, Kind::Id),
    ("array", "array", Field::Array, Kind::Id),
    ("name", "name", Field::Name, Kind::Text),
    ("user", "user", Field::User, Kind::Text),
    ("queue", "queue", Field::Queue, Kind::Text),
    ("command", "command", Field::Command, Kind::Text),
    ("cwd", "cwd", Field::Cwd, Kind::Text),
    ("comment", "comment", Field::Comment, Kind::Text),
    ("state", "state", Field::State, Kind::State),
    ("cause", "failure.cause", Field::Cause, Kind::Text),
    ("attempt", "attempt", Field::Attempt, Kind::Number),
    ("priority", "priority", Field::Priority, Kind::Number),
    ("cpus", "cpus", Field::Cpus, Kind::Number),
    ("exit_code", "exit_code", Field::ExitCode, Kind::Number),
    ("signal", "signal", Field::Signal, Kind::Number),
    ("mem", "mem_bytes", Field::Mem, Kind::Size),
    ("peak", "peak_memory_bytes", Field::Peak, Kind::Size),
    ("time", "time_limit_ms", Field::Time, Kind::Duration),
    ("cpu", "cpu_ms", Field::CpuTime, Kind::Duration),
    ("submitted", "submitted_at", Field::Submitted, Kind::Instant),
    ("started", "started_at", Field::Started, Kind::Instant),
    ("ended", "ended_at", Field::Ended, Kind::Instant),
];

/// What the values of a field are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `12`, `12.3`, `10-20`.
    Id,
    /// Words; `~` finds a part, without regard to ASCII case.
    Text,
    /// A state, `live` or `ended`.
    State,
    /// An integer.
    Number,
    /// `8G`.
    Size,
    /// `2h`.
    Duration,
    /// A date, RFC 3339, `today`, or `-2h` for two hours ago.
    Instant,
}

/// How a field is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Is one of the values.
    Eq,
    /// Is none of the values; also true of what has no such field.
    Ne,
    /// Less.
    Lt,
    /// At most.
    Le,
    /// More.
    Gt,
    /// At least.
    Ge,
    /// Contains one of the values.
    Has,
    /// Contains none of the values; also true of what has no such field.
    HasNot,
}

const OPS: [(&str, Op); 8] = [
    ("!=", Op::Ne),
    ("!~", Op::HasNot),
    ("<=", Op::Le),
    (">=", Op::Ge),
    ("=", Op::Eq),
    ("<", Op::Lt),
    (">", Op::Gt),
    ("~", Op::Has),
];

/// What a field is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One task, or a job and its tasks.
    One(JobRef),
    /// Jobs from one to another, with their tasks.
    Range(JobId, JobId),
    /// Text.
    Text(String),
    /// One of these states.
    States(Vec<JobState>),
    /// A number, bytes, milliseconds, or an instant in milliseconds.
    Number(i64),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Of what.
    pub field: Field,
    /// The label's name, for [`Field::Label`]; else empty.
    pub label: String,
    /// How.
    pub op: Op,
    /// With what; at least one, and exactly one unless `op` is about any of them.
    pub values: Vec<Value>,
}

/// Conditions that must all hold. Ids that stand alone are one condition: any of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Filter {
    /// All must hold.
    pub terms: Vec<Term>,
}

impl Filter {
    /// Reads terms; each text may hold several, separated by blanks. A value with blanks or, of a text, with commas is quoted:
    /// `name="a b"`.
    ///
    /// # Errors
    /// A term can not be meant; names it and what would work.
    pub fn parse<S: AsRef<str>>(texts: &[S], now: &Zoned) -> Result<Self, Error> {
        let mut terms: Vec<Term> = Vec::new();
        let mut values = 0;
        for word in texts.iter().map(|t| words(t.as_ref())).collect::<Result<Vec<_>, _>>()?.into_iter().flatten() {
            let term = term(&word, now)?;
            let more = term.values.len();
            match terms.iter_mut().find(|t| t.field == Field::Id && t.op == Op::Eq) {
                Some(ids) if term.field == Field::Id && term.op == Op::Eq => ids.values.extend(term.values),
                _ => terms.push(term),
            }
            values += more;
            if values > MAX_TERMS {
                return Err(Error::new(
                    crate::error::Code::ResourceExhausted,
                    format!("a filter has at most {MAX_TERMS} values in all its terms"),
                ));
            }
        }
        Ok(Self { terms })
    }

    /// Whether all conditions hold for a job.
    #[must_use]
    pub fn matches(&self, job: &JobView) -> bool {
        self.terms.iter().all(|term| term.matches(job))
    }
}

/// Stands for a comma that was quoted, until the values of a term are told apart. No text holds it.
const COMMA: char = '\0';

/// Splits at blanks outside of double quotes, which it removes; a comma inside them is a [`COMMA`].
fn words(text: &str) -> Result<Vec<String>, Error> {
    if text.contains(COMMA) {
        return Err(Error::invalid("a filter holds a NUL byte"));
    }
    let (mut all, mut word, mut quoted, mut any) = (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    all.push(std::mem::take(&mut word));
                }
                any = false;
            }
            c => {
                word.push(if quoted && c == ',' { COMMA } else { c });
                any = true;
            }
        }
    }
    if quoted {
        return Err(Error::invalid(format!("the quote in '{text}' is not closed")));
    }
    if any {
        all.push(word);
    }
    match all.iter().find(|w| w.len() > MAX_TERM_BYTES) {
        Some(_) => Err(Error::invalid(format!("a term of a filter is at most {MAX_TERM_BYTES} bytes long"))),
        None => Ok(all),
    }
}

fn term(quoted: &str, now: &Zoned) -> Result<Term, Error> {
    let word = &*quoted.replace(COMMA, ",");
    let Some(at) = word.find(['=', '<', '>', '~', '!']) else {
        let values = word.split(',').map(|id| id_value(id, word)).collect::<Result<_, _>>()?;
        return Ok(Term::new(Field::Id, Op::Eq, values));
    };
    let (name, rest) = word.split_at(at);
    let Some((sign, op)) = OPS.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
        return Err(Error::invalid(format!("'{word}' is not a term of a filter")).hint(EXAMPLE));
    };
    let known = FIELDS.iter().find(|(short, key, ..)| *short == name || *key == name).map(|f| (f.2, f.3));
    let label = name.strip_prefix("label.").or(name.strip_prefix("labels.")).filter(|label| !label.is_empty());
    let Some((field, kind)) = known.or(label.map(|_| (Field::Label, Kind::Text))) else {
        let error = Error::invalid(format!("jobs have no field '{name}' to filter by"));
        let names: Vec<&str> = FIELDS.iter().map(|f| f.0).collect();
        return Err(match nearest(name, names.iter().copied()) {
            Some(near) => error.hint(format!("did you mean {near}{sign}{}?", &rest[sign.len()..])),
            None => error.hint(format!("fields are {}, and label.NAME", names.join(", "))),
        });
    };
    let ops_allowed = match kind {
        Kind::Id | Kind::State => matches!(op, Op::Eq | Op::Ne),
        Kind::Text => matches!(op, Op::Eq | Op::Ne | Op::Has | Op::HasNot),
        Kind::Number | Kind::Size | Kind::Duration | Kind::Instant => !matches!(op, Op::Has | Op::HasNot),
    };
    if !ops_allowed {
        let fitting = match kind {
            Kind::Id | Kind::State => "= and !=",
            Kind::Text => "=, !=, ~ and !~",
            _ => "=, !=, <, <=, > and >=",
        };
        return Err(Error::invalid(format!("'{name}' can not be compared with {sign} in '{word}'"))
            .hint(format!("it takes {fitting}")));
    }
    let text = &rest[sign.len()..];
    let many = matches!(op, Op::Eq | Op::Ne | Op::Has | Op::HasNot);
    // Only texts have commas of their own.
    let text = if kind == Kind::Text { &quoted[quoted.len() - text.len()..] } else { text };
    let parts: Vec<&str> = if many { text.split(',').collect() } else { vec![text] };
    let parts = parts.into_iter().map(|part| part.replace(COMMA, ","));
    let values = parts.map(|part| value(kind, &part, word, now)).collect::<Result<_, _>>()?;
    Ok(Term { field, label: label.filter(|_| field == Field::Label).unwrap_or_default().to_owned(), op, values })
}

const EXAMPLE: &str = "write ids, or terms such as state=queued, user=alice, mem>8G, name~train";

fn id_value(text: &str, word: &str) -> Result<Value, Error> {
    let bad = || Error::invalid(format!("'{word}' is neither a job id nor a term of a filter")).hint(EXAMPLE);
    if let Some((from, to)) = text.split_once('-') {
        let whole =
            |part: &str| JobRef::from_str(part).ok().filter(|r| r.task.is_none()).map(|r| r.job).ok_or_else(bad);
        let (from, to) = (whole(from)?, whole(to)?);
        return if from <= to { Ok(Value::Range(from, to)) } else { Err(bad()) };
    }
    text.parse().map(Value::One).map_err(|_| bad())
}

fn value(kind: Kind, text: &str, word: &str, now: &Zoned) -> Result<Value, Error> {
    let wrong = |e: &dyn std::fmt::Display| Error::invalid(format!("in '{word}': {e}"));
    let number = |n: u64| i64::try_from(n).map(Value::Number).map_err(|e| wrong(&e));
    match kind {
        Kind::Id => id_value(text, word),
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::State => states(text).map(Value::States).ok_or_else(|| {
            let all: Vec<&str> = JobState::ALL.map(JobState::word).into_iter().chain(["live", "ended"]).collect();
            let error = Error::invalid(format!("'{text}' is not a state"));
            match nearest(text, all.iter().copied()) {
                Some(near) => error.hint(format!("did you mean state={near}?")),
                None => error.hint(format!("states are {}", all.join(", "))),
            }
        }),
        Kind::Number => text.parse().map(Value::Number).map_err(|_| wrong(&format!("'{text}' is not a whole number"))),
        Kind::Size => number(text.parse::<Bytes>().map_err(|e| wrong(&e))?.0),
        Kind::Duration => number(text.parse::<Millis>().map_err(|e| wrong(&e))?.0),
        Kind::Instant => instant(text, now).map(|t| Value::Number(t.0)).ok_or_else(|| {
            Error::invalid(format!("in '{word}': '{text}' is not a time in the past"))
                .hint("write today, 2026-01-31, 2026-01-31T18:00:00Z, or -2h for two hours ago")
        }),
    }
}

fn states(text: &str) -> Option<Vec<JobState>> {
    match text {
        "live" => Some(JobState::ALL.into_iter().filter(|s| !s.is_terminal()).collect()),
        "ended" => Some(JobState::ALL.into_iter().filter(|s| s.is_terminal()).collect()),
        word => JobState::of_word(word).map(|s| vec![s]),
    }
}

fn instant(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Some(ago) = text.strip_prefix('-') {
        let ago = i64::try_from(ago.parse::<Millis>().ok()?.0).ok()?;
        return Some(Timestamp(now.timestamp().as_millisecond().saturating_sub(ago)));
    }
    let day = match text {
        "today" => now.date(),
        "yesterday" => now.date().yesterday().ok()?,
        // `18:00` and `+2h` mean what is to come; nothing of a job is in the future.
        _ if text.len() < 10 => return None,
        _ => return Timestamp::parse(text, now).ok(),
    };
    let midnight = day.to_zoned(now.time_zone().clone()).ok()?;
    Some(Timestamp(midnight.timestamp().as_millisecond()))
}

impl Term {
    /// A condition on anything but a label.
    #[must_use]
    pub fn new(field: Field, op: Op, values: Vec<Value>) -> Self {
        Self { field, label: String::new(), op, values }
    }

    fn matches(&self, job: &JobView) -> bool {
        let text = |of: Option<&str>| match self.op {
            Op::Eq => of.is_some_and(|of| self.texts().any(|v| v == of)),
            Op::Ne => of.is_none_or(|of| self.texts().all(|v| v != of)),
            Op::Has => of.is_some_and(|of| self.texts().any(|v| contains(of, v))),
            _ => of.is_none_or(|of| self.texts().all(|v| !contains(of, v))),
        };
        let number = |of: Option<i64>| {
            let any = |holds: fn(&i64, &i64) -> bool| of.is_some_and(|of| self.numbers().any(|v| holds(&of, &v)));
            match self.op {
                Op::Eq => any(|a, b| a == b),
                Op::Lt => any(|a, b| a < b),
                Op::Le => any(|a, b| a <= b),
                Op::Gt => any(|a, b| a > b),
                Op::Ge => any(|a, b| a >= b),
                _ => !any(|a, b| a == b),
            }
        };
        let when = |t: Option<Timestamp>| number(t.map(|t| t.0));
        let unsigned = |n: Option<u64>| number(n.and_then(|n| i64::try_from(n).ok()));
        match self.field {
            Field::Id => self.any_value(|v| in_ids(v, job.id)) == (self.op == Op::Eq),
            Field::Array => {
                let is = job.id.task.is_some() && self.any_value(|v| in_ids(v, job.id.job.into()));
                is == (self.op == Op::Eq)
            }
            Field::State => {
                self.any_value(|v| matches!(v, Value::States(s) if s.contains(&job.state))) == (self.op == Op::Eq)
            }
            Field::Name => text(Some(&job.name)),
            Field::User => text(Some(&job.user)),
            Field::Queue => text(Some(job.queue.as_str())),
            Field::Command => text(Some(&command_text(&job.command))),
            Field::Cwd => text(Some(&job.cwd.lossy())),
            Field::Comment => text(job.comment.as_deref()),
            Field::Cause => {
                let cause = job.failure.as_ref().and_then(|f| serde_json::to_value(f.cause).ok());
                text(cause.as_ref().and_then(|c| c.as_str()))
            }
            Field::Attempt => number(Some(job.attempt.into())),
            Field::Priority => number(Some(job.priority.get().into())),
            Field::Cpus => number(Some(job.cpus.into())),
            Field::ExitCode => number(job.exit_code.map(Into::into)),
            Field::Signal => number(job.signal.map(Into::into)),
            Field::Mem => unsigned(job.mem_bytes.map(|m| m.0)),
            Field::Peak => unsigned(job.usage.peak_memory_bytes),
            Field::Time => unsigned(job.time_limit_ms.map(|t| t.0)),
            Field::CpuTime => unsigned(job.usage.cpu_ms),
            Field::Submitted => when(Some(job.submitted_at)),
            Field::Started => when(job.started_at),
            Field::Ended => when(job.ended_at),
            Field::Label => text(job.labels.get(&self.label).map(String::as_str)),
        }
    }

    fn any_value(&self, holds: impl Fn(&Value) -> bool) -> bool {
        self.values.iter().any(holds)
    }

    fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|v| if let Value::Text(t) = v { Some(t.as_str()) } else { None })
    }

    fn numbers(&self) -> impl Iterator<Item = i64> {
        self.values.iter().filter_map(|v| if let Value::Number(n) = v { Some(*n) } else { None })
    }
}

/// The words of a command with single blanks between, as filters see it.
#[must_use]
pub fn command_text(words: &[OsText]) -> String {
    words.iter().map(OsText::lossy).collect::<Vec<_>>().join(" ")
}

fn in_ids(value: &Value, id: JobRef) -> bool {
    match value {
        Value::One(one) => *one == id || (one.task.is_none() && one.job == id.job),
        Value::Range(from, to) => (*from..=*to).contains(&id.job),
        _ => false,
    }
}

fn contains(text: &str, part: &str) -> bool {
    text.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filter, Error> {
        Filter::parse(&[text], &"2026-03-01T12:00:00[UTC]".parse().unwrap())
    }

    #[test]
    fn terms_read_as_people_write_them() {
        for (text, field, op, value) in [
            ("state=queued", Field::State, Op::Eq, Value::States(vec![JobState::Queued])),
            ("mem_bytes>=8G", Field::Mem, Op::Ge, Value::Number(8 << 30)),
            ("time<2h", Field::Time, Op::Lt, Value::Number(7_200_000)),
            ("name~\"a b\"", Field::Name, Op::Has, Value::Text("a b".into())),
            ("user!=bob", Field::User, Op::Ne, Value::Text("bob".into())),
            ("12.3", Field::Id, Op::Eq, Value::One(JobRef::task(JobId(12), 3))),
            ("3-9", Field::Id, Op::Eq, Value::Range(JobId(3), JobId(9))),
            ("ended>-2h", Field::Ended, Op::Gt, Value::Number(1_772_359_200_000)),
            ("submitted>=today", Field::Submitted, Op::Ge, Value::Number(1_772_323_200_000)),
        ] {
            assert_eq!(parse(text).unwrap().terms, [Term::new(field, op, vec![value])], "{text}");
        }
        assert_eq!(parse("1 2,3 4-5").unwrap().terms[0].values.len(), 4, "ids that stand alone are one condition");
    }

    #[test]
    fn a_comma_in_quotes_is_the_texts_own() {
        let values = |text: &str| parse(text).unwrap().terms.pop().unwrap().values;
        let text = |text: &str| Value::Text(text.to_owned());
        assert_eq!(values(r#"name="a,b""#), [text("a,b")]);
        assert_eq!(values(r#"name="a, b",c,"d,""#), [text("a, b"), text("c"), text("d,")]);
        assert_eq!(values("name=a,b"), [text("a"), text("b")]);
        assert_eq!(values(r#"state="failed,timeout""#).len(), 2);
        let wrong = parse(r#"nmae="a,b""#).unwrap_err();
        assert_eq!(wrong.hint.as_deref(), Some("did you mean name=a,b?"));
        assert!(parse("name=a\0b").is_err());
    }

    #[test]
    fn a_term_that_can_not_be_meant_names_what_would_work() {
        for (text, hint) in [
            ("sttae=queued", "did you mean state=queued?"),
            ("state=qeued", "did you mean state=queued?"),
            ("state>queued", "it takes = and !="),
            ("name<x", "it takes =, !=, ~ and !~"),
            ("cpus~2", "it takes =, !=, <, <=, > and >="),
            ("train", "write ids"),
            ("9-3", "write ids"),
            ("ended>18:00", "write today"),
            ("zzzzzz=1", "fields are id"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.hint.as_deref().unwrap_or("").contains(hint), "{text}: {error:?}");
        }
        for text in ["cpus=two", "mem>lots", "name=\"open", "a!b", "!", "cpus<1,2"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_values_of_all_terms_together_are_bounded() {
        for term in ["12 ", "cpus>1 ", "state=live ", "name=a,b,c,d "] {
            let values = parse(term).unwrap().terms[0].values.len();
            assert!(parse(&term.repeat(MAX_TERMS / values)).is_ok(), "{term}");
            let error = parse(&term.repeat(MAX_TERMS / values + 1)).unwrap_err();
            assert_eq!(error.code, crate::error::Code::ResourceExhausted, "{term}");
        }
    }
}
