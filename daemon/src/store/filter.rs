//! The filter language as SQL, with every value a parameter.
//! It refuses to know the language itself; that is parsed before it comes here.

use qrm_protocol::filter::{Field, Filter, Op, Term, Value};
use rusqlite::ToSql;
use rusqlite::types::ToSqlOutput;

/// Whether conditions are about rows of `job j`, or of `task t` joined with its `job j`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Jobs,
    Tasks,
}

/// A value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Param {
    Text(String),
    Number(i64),
}

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Text(text) => text.to_sql(),
            Self::Number(number) => number.to_sql(),
        }
    }
}

/// Conditions as one SQL expression, and its parameters in order.
pub(super) fn conditions(filter: &Filter, of: Of) -> (String, Vec<Param>) {
    let mut params = Vec::new();
    let mut all: Vec<String> = filter.terms.iter().map(|term| condition(term, of, &mut params)).collect();
    // Spelled out for the index of what lives.
    let live = |term: &&Term| {
        let states = |v: &Value| matches!(v, Value::States(s) if s.iter().all(|state| !state.is_terminal()));
        term.field == Field::State && term.op == Op::Eq && term.values.iter().all(states)
    };
    if filter.terms.iter().any(|term| live(&term)) {
        all.push(format!("{}.ended_at IS NULL", own(of)));
    }
    (if all.is_empty() { "1".to_owned() } else { joined(&all, "AND") }, params)
}

/// Expressions as one, halved and halved again: SQLite takes a thousand levels, and a filter may have more values.
fn joined(all: &[String], with: &str) -> String {
    match all {
        [] => String::new(),
        [one] => one.clone(),
        more => {
            let (left, right) = more.split_at(more.len() / 2);
            format!("({} {with} {})", joined(left, with), joined(right, with))
        }
    }
}

fn own(of: Of) -> &'static str {
    match of {
        Of::Jobs => "j",
        Of::Tasks => "t",
    }
}

fn condition(term: &Term, of: Of, params: &mut Vec<Param>) -> String {
    let not = matches!(term.op, Op::Ne | Op::HasNot);
    let each: Vec<String> = term.values.iter().map(|value| one(term, value, of, params)).collect();
    let any = joined(&each, "OR");
    // A field that is not there is NULL, and NULL is not any of the values. Where all must hold, NULL is as good as
    // false, and without a function around it an index can find what is.
    if not { format!("NOT coalesce({any}, 0)") } else { any }
}

fn one(term: &Term, value: &Value, of: Of, params: &mut Vec<Param>) -> String {
    let column = match term.field {
        Field::Label => {
            params.push(Param::Text(term.label.clone()));
            "(SELECT value FROM json_each(j.labels) WHERE key = ?)".to_owned()
        }
        field => column(field, of),
    };
    match value {
        Value::One(id) if term.field == Field::Array => {
            params.push(Param::Number(id.job.0.cast_signed()));
            let matched = if id.task.is_some() { "0 AND" } else { "" };
            format!("({matched} {} AND {column} = ?)", of == Of::Tasks)
        }
        Value::One(id) => {
            params.push(Param::Number(id.job.0.cast_signed()));
            match id.task {
                None => format!("{column} = ?"),
                Some(_) if of == Of::Jobs => "(0 AND j.id = ?)".to_owned(),
                Some(task) => {
                    params.push(Param::Number(task.into()));
                    "(t.job = ? AND t.task = ?)".to_owned()
                }
            }
        }
        Value::Range(from, to) => {
            params.push(Param::Number(from.0.cast_signed()));
            params.push(Param::Number(to.0.cast_signed()));
            let tasks_only = term.field == Field::Array && of == Of::Jobs;
            format!("({} {column} BETWEEN ? AND ?)", if tasks_only { "0 AND" } else { "" })
        }
        Value::States(states) => {
            let marks: Vec<&str> = states
                .iter()
                .map(|state| {
                    params.push(Param::Text(state.word().to_owned()));
                    "?"
                })
                .collect();
            format!("{column} IN ({})", marks.join(", "))
        }
        Value::Text(text) if matches!(term.op, Op::Has | Op::HasNot) => {
            params.push(Param::Text(text.to_ascii_lowercase()));
            // lower() of SQLite is of ASCII alone, as the language says.
            format!("instr(lower({column}), ?) > 0")
        }
        Value::Text(text) => {
            params.push(Param::Text(text.clone()));
            format!("{column} = ?")
        }
        Value::Number(number) => {
            params.push(Param::Number(*number));
            let sign = match term.op {
                Op::Lt => "<",
                Op::Le => "<=",
                Op::Gt => ">",
                Op::Ge => ">=",
                _ => "=",
            };
            format!("{column} {sign} ?")
        }
    }
}

fn column(field: Field, of: Of) -> String {
    let own = |name: &str| format!("{}.{name}", own(of));
    // Who was granted something else than it asked for first has that; what is 0 there is not there.
    let granted = |name: &str, part: &str| {
        let takes = own("takes");
        format!("(CASE WHEN {takes} IS NULL THEN j.{name} ELSE {takes} ->> '{part}' END)")
    };
    match field {
        Field::Id | Field::Array if of == Of::Tasks => "t.job".to_owned(),
        Field::Id | Field::Array => "j.id".to_owned(),
        Field::Name => "j.name".to_owned(),
        Field::User => "j.user".to_owned(),
        Field::Queue => "j.queue".to_owned(),
        Field::Command => "command_text(j.command)".to_owned(),
        Field::Cwd => "os_text(j.cwd)".to_owned(),
        Field::Comment => "j.comment".to_owned(),
        Field::State => own("state"),
        Field::Cause => own("failure_cause"),
        Field::Attempt => own("attempt"),
        Field::Priority => "j.priority".to_owned(),
        Field::Cpus => granted("cpus", "cpus"),
        Field::ExitCode => own("exit_code"),
        Field::Signal => own("signal"),
        Field::Mem => granted("mem_bytes", "mem_bytes"),
        Field::Peak => own("peak_memory_bytes"),
        Field::Time => granted("time_limit_ms", "time_ms"),
        Field::CpuTime => own("cpu_ms"),
        Field::Submitted => "j.submitted_at".to_owned(),
        Field::Started => own("started_at"),
        Field::Ended => own("ended_at"),
        Field::Label => unreachable!("a label has no column"),
    }
}
