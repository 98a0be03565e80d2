//! The store through its public face: what is found by a filter, what is forgotten, and what a damaged one does.
//! It refuses to know the engine; events come from here and from the golden files.

// A test's failure is its report.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use qrm_core::{Core, Demand, Event, RunUsage, Stage};
use qrm_daemon::config::Durability;
use qrm_daemon::store::{DATABASE, Environment, JobText, Page, Readers, Row, Store, StoreError, fold};
use qrm_protocol::filter::{FIELDS, Filter, Kind, MAX_TERMS};
use qrm_protocol::ids::{JobId, JobRef, Seq, Uid};
use qrm_protocol::job::{Failure, FailureCause, FailureKind, JobSpec, JobState, JobView, UsageView};
use qrm_protocol::text::OsText;
use qrm_protocol::time::Timestamp;
use rusqlite::{Connection, OpenFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// 2026-03-01 12:00 UTC, the present of all tests.
const NOW: i64 = 1_772_366_400_000;
const HOUR: i64 = 3_600_000;

/// A state directory, its writer and its readers.
struct Home {
    dir: TempDir,
    store: Store,
    readers: Readers,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::Relaxed).unwrap();
        let readers = Readers::new(dir.path());
        Self { dir, store, readers }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Writes that a job was submitted, and its row.
    fn submit(&mut self, id: u64, uid: Uid, at: i64, text: &JobText) -> Result<Seq, StoreError> {
        let demand = Demand::from(&text.spec);
        let event = Event::Submitted { job: JobId(id).into(), user: uid, name: text.spec.display_name(), demand };
        self.store.write(Timestamp(at), &event, std::slice::from_ref(text))
    }

    fn write(&mut self, event: &Event) {
        self.store.write(Timestamp(NOW), event, &[]).unwrap();
    }

    fn end(&mut self, job: JobRef, at: i64) {
        self.write(&ended(job, at));
    }

    fn list(&self, page: &Page) -> (Vec<Row>, bool) {
        self.readers.with(|reader| reader.list(page)).unwrap()
    }

    /// What someone with sqlite3 would see.
    fn number(&self, sql: &str) -> i64 {
        plain(self.path()).query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

fn plain(dir: &Path) -> Connection {
    Connection::open_with_flags(dir.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

fn ended(job: JobRef, at: i64) -> Event {
    Event::Ended {
        job,
        state: JobState::Completed,
        started_at: Some(Timestamp(at - HOUR)),
        ended_at: Timestamp(at),
        exit_code: Some(0),
        signal: None,
        failure: None,
        by: None,
        usage: RunUsage::default(),
    }
}

fn spec(json: &str) -> JobSpec {
    serde_json::from_str(json).unwrap()
}

fn os(bytes: &[u8]) -> OsText {
    OsText::new(bytes).unwrap()
}

fn text(json: &str, environment: &str) -> JobText {
    let environment = Arc::new(Environment::new(&[os(environment.as_bytes())]));
    JobText { spec: spec(json), user: "alice".to_owned(), cwd: os(b"/home/alice"), umask: 0o022, environment }
}

fn plain_text(environment: &str) -> JobText {
    text(r#"{"command":["true"]}"#, environment)
}

mod lists {
    use super::*;

    /// How far a job or task came. What is not reached is not there.
    #[derive(Clone, Debug)]
    enum Life {
        Waiting,
        Allocating(u32),
        Executing(u32, i64),
        Requeued(u32, i64),
        /// The last attempt and its start, if there was one, and how it ended.
        Ended(Option<(u32, Option<i64>)>, End),
    }

    #[derive(Clone, Debug)]
    struct End {
        state: JobState,
        at: i64,
        exit_code: Option<i32>,
        signal: Option<i32>,
        failure: Option<Failure>,
        usage: RunUsage,
    }

    /// A job, and the lives of some tasks if it is an array.
    #[derive(Clone, Debug)]
    struct Past {
        uid: Uid,
        user: &'static str,
        spec: JobSpec,
        cwd: OsText,
        submitted: i64,
        life: Life,
        tasks: BTreeMap<u32, Life>,
    }

    const NAMES: [&str; 7] = ["train", "TRAIN", "eval a", "x,y=z", "%_", "žluť", "a'b\\"];
    const USERS: [&str; 3] = ["alice", "Bob", "1004"];
    const COMMENTS: [&str; 3] = ["first try", "100%", "Ž"];
    const CODES: [i32; 4] = [0, 1, 137, 255];
    const SIGNALS: [i32; 3] = [9, 11, 15];
    /// Values that touch each other, so that `<` and `<=` are not the same.
    const NUMBERS: [i64; 9] = [i64::MIN, -1, 0, 1, 2, 3, 50, 100, i64::MAX];
    const SIZES: [u64; 5] = [0, 1, 1 << 20, 1 << 30, (1 << 30) + 1];
    const TIMES: [i64; 6] = [NOW - 48 * HOUR, NOW - 12 * HOUR - 1, NOW - 12 * HOUR, NOW - 2 * HOUR, NOW - 1, NOW];
    const COMMANDS: [&[&[u8]]; 4] =
        [&[b"python", b"train.py", b"--lr=0.1"], &[b"/bin/true"], &[b"echo", b"", b"a b"], &[b"/bin/\xff", b"\xc5"]];
    const CWDS: [&[u8]; 3] = [b"/home/alice", b"/DATA/x", b"/\xff\xfe"];

    fn of<T: Clone + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> + Clone {
        prop::sample::select(all)
    }

    fn end() -> impl Strategy<Value = End> {
        let state = of(&[JobState::Completed, JobState::Failed, JobState::Cancelled, JobState::Timeout]);
        let cause = of(&[FailureCause::Exit, FailureCause::Oom, FailureCause::Signal, FailureCause::Dependency]);
        let how = (prop::option::of(of(&CODES)), prop::option::of(of(&SIGNALS)), prop::option::of(cause));
        (state, of(&TIMES), how, 0u64..4, of(&SIZES)).prop_map(|(state, at, (exit_code, signal, cause), cpu, peak)| {
            let message = "it ended".to_owned();
            let failure = cause.map(|cause| Failure { kind: FailureKind::ExecuteError, cause, message });
            let usage = RunUsage { cpu_ms: cpu * 1_000, peak_memory_bytes: peak };
            End { state, at, exit_code, signal, failure, usage }
        })
    }

    fn life() -> impl Strategy<Value = Life> {
        let run = || (1u32..4, of(&TIMES));
        let maybe_run = prop::option::of((1u32..4, prop::option::of(of(&TIMES))));
        prop_oneof![
            1 => Just(Life::Waiting),
            1 => (1u32..4).prop_map(Life::Allocating),
            1 => run().prop_map(|(attempt, at)| Life::Executing(attempt, at)),
            1 => run().prop_map(|(attempt, at)| Life::Requeued(attempt, at)),
            3 => (maybe_run, end()).prop_map(|(run, end)| Life::Ended(run, end)),
        ]
    }

    fn past() -> impl Strategy<Value = Past> {
        let words = (prop::option::of(of(&NAMES)), of(&USERS), prop::option::of(of(&COMMENTS)));
        let places = (of(&COMMANDS), of(&CWDS), any::<(bool, bool)>());
        let amounts = (0u64..=100, prop::option::of(0u32..4), prop::option::of(of(&SIZES)), prop::option::of(1u64..4));
        let tasks = prop::option::weighted(0.4, prop::collection::btree_map(0u32..5, life(), 0..4));
        (words, places, amounts, of(&TIMES), life(), tasks).prop_map(
            |((name, user, comment), (command, cwd, stages), (priority, cpus, mem, hours), submitted, life, tasks)| {
                let words: Vec<OsText> = command.iter().map(|word| os(word)).collect();
                let mut json = serde_json::json!({
                    "command": words, "name": name, "comment": comment, "priority": priority, "cpus": cpus,
                    "mem_bytes": mem, "time_limit_ms": hours.map(|h| h * 3_600_000),
                });
                if tasks.is_some() {
                    json["array"] = "0-9%3".into();
                } else if matches!(life, Life::Waiting) {
                    json["validate"] = stages.0.then_some("test -r data").into();
                    json["compile"] = stages.1.then_some("make").into();
                }
                let spec = serde_json::from_value(json).unwrap();
                let uid = u32::try_from(user.len()).unwrap();
                Past { uid, user, spec, cwd: os(cwd), submitted, life, tasks: tasks.unwrap_or_default() }
            },
        )
    }

    /// Writes the events of a life.
    fn live(home: &mut Home, job: JobRef, life: &Life) {
        let start = |home: &mut Home, attempt, at: Option<i64>| {
            home.write(&Event::Started { job, attempt });
            if let Some(at) = at {
                let started_at = Timestamp(at);
                home.write(&Event::Executing { job, attempt, pid: 4_711, started_at, boot_ms: 7 });
            }
        };
        match life.clone() {
            Life::Waiting => {}
            Life::Allocating(attempt) => start(home, attempt, None),
            Life::Executing(attempt, at) => start(home, attempt, Some(at)),
            Life::Requeued(attempt, at) => {
                start(home, attempt, Some(at));
                let message = "again".to_owned();
                let failure = Failure { kind: FailureKind::ExecuteError, cause: FailureCause::Exit, message };
                let usage = RunUsage { cpu_ms: 7, peak_memory_bytes: 7 };
                home.write(&Event::Requeued { job, attempt, failure, due_boot_ms: 9, usage });
            }
            Life::Ended(run, End { state, at, exit_code, signal, failure, usage }) => {
                if let Some((attempt, at)) = run {
                    start(home, attempt, at);
                }
                let (started_at, ended_at) = (run.and_then(|(_, at)| at).map(Timestamp), Timestamp(at));
                let by = None;
                home.write(&Event::Ended { job, state, started_at, ended_at, exit_code, signal, failure, by, usage });
            }
        }
    }

    /// What a life looks like, without asking the store.
    fn seen(view: &mut JobView, life: &Life) {
        let (state, attempt, started) = match life {
            Life::Waiting => return,
            Life::Allocating(attempt) => (JobState::Allocating, *attempt, None),
            Life::Executing(attempt, at) => (JobState::Executing, *attempt, Some(*at)),
            Life::Requeued(attempt, at) => (JobState::Queued, *attempt, Some(*at)),
            Life::Ended(run, end) => (end.state, run.map_or(0, |(attempt, _)| attempt), run.and_then(|(_, at)| at)),
        };
        view.state = state;
        view.attempt = attempt;
        view.started_at = started.map(Timestamp);
        if let Life::Ended(_, end) = life {
            view.ended_at = Some(Timestamp(end.at));
            view.exit_code = end.exit_code;
            view.signal = end.signal;
            view.failure.clone_from(&end.failure);
            view.usage.cpu_ms = started.map(|_| end.usage.cpu_ms);
            view.usage.peak_memory_bytes = started.map(|_| end.usage.peak_memory_bytes);
        }
    }

    /// What an array looks like: it is what its tasks are together.
    fn seen_array(view: &mut JobView, past: &Past, tasks: &[JobView]) {
        let starts = past.tasks.values().find_map(|life| match life {
            Life::Executing(_, at) | Life::Requeued(_, at) | Life::Ended(Some((_, Some(at))), _) => Some(*at),
            _ => None,
        });
        if let Life::Ended(_, end) = &past.life {
            seen(view, &Life::Ended(None, end.clone()));
            view.usage.cpu_ms = tasks.iter().filter_map(|t| t.usage.cpu_ms).reduce(|a, b| a + b);
            view.usage.peak_memory_bytes = tasks.iter().filter_map(|t| t.usage.peak_memory_bytes).max();
        } else if tasks.iter().any(|task| task.attempt > 0) {
            view.state = JobState::Executing;
        }
        view.started_at = starts.map(Timestamp);
    }

    /// What the row of a job says before anything happened to it.
    fn fresh(id: JobRef, past: &Past) -> Row {
        let staged = past.spec.validate.is_some() || past.spec.compile.is_some();
        Row {
            id,
            uid: past.uid,
            user: past.user.to_owned(),
            name: past.spec.display_name(),
            state: if staged { JobState::Pending } else { JobState::Queued },
            attempt: 0,
            priority: past.spec.priority,
            cpus: past.spec.cpus.unwrap_or(1),
            mem: past.spec.mem_bytes,
            time_limit: past.spec.time_limit_ms,
            retries: 0,
            submitted_at: Timestamp(past.submitted),
            begin_at: None,
            started_at: None,
            ended_at: None,
            exit_code: None,
            signal: None,
            failure: None,
            cpu_ms: None,
            peak_memory: None,
            tasks: None,
            tasks_ended: None,
            comment: past.spec.comment.clone(),
            command: past.spec.command.clone(),
            cwd: past.cwd.clone(),
        }
    }

    /// A row as a filter looks at it.
    fn view(row: Row) -> JobView {
        let (cpu_ms, peak_memory_bytes) = (row.cpu_ms, row.peak_memory);
        JobView {
            id: row.id,
            name: row.name,
            user: row.user,
            queue: "default".to_owned(),
            state: row.state,
            attempt: row.attempt,
            priority: row.priority,
            command: row.command,
            cwd: row.cwd,
            scope: String::new(),
            labels: BTreeMap::new(),
            comment: row.comment,
            submitted_at: row.submitted_at,
            begin_at: None,
            started_at: row.started_at,
            ended_at: row.ended_at,
            exit_code: row.exit_code,
            signal: row.signal,
            failure: row.failure,
            waiting_reason: None,
            planned_start: None,
            devices: Vec::new(),
            cpus: row.cpus,
            mem_bytes: row.mem,
            vram_bytes: None,
            time_limit_ms: row.time_limit,
            retries: 0,
            array: None,
            tasks: None,
            after: Vec::new(),
            usage: UsageView { cpu_ms, peak_memory_bytes, gpu_ms: None, cost_credits: None },
            progress: None,
            dir: String::new(),
        }
    }

    /// Writes the history of jobs 1 to n, and says how all of them should look, newest first.
    fn remember(home: &mut Home, pasts: &[Past]) -> Vec<JobView> {
        let mut views = Vec::new();
        for (id, past) in (1..).zip(pasts) {
            let (spec, cwd, environment) = (past.spec.clone(), past.cwd.clone(), Arc::new(Environment::new(&[])));
            let text = JobText { spec, user: past.user.to_owned(), cwd, umask: 0o022, environment };
            home.submit(id, past.uid, past.submitted, &text).unwrap();
            let job = JobRef::whole(JobId(id));
            let mut whole = view(fresh(job, past));
            if past.spec.array.is_none() {
                live(home, job, &past.life);
                seen(&mut whole, &past.life);
                views.push(whole);
                continue;
            }
            let mut tasks = Vec::new();
            for (index, life) in &past.tasks {
                let task = JobRef::task(JobId(id), *index);
                live(home, task, life);
                let mut of_task = view(fresh(task, past));
                seen(&mut of_task, life);
                tasks.extend((!matches!(life, Life::Waiting)).then_some(of_task));
            }
            if let Life::Ended(_, end) = &past.life {
                live(home, job, &Life::Ended(None, end.clone()));
            }
            seen_array(&mut whole, past, &tasks);
            views.push(whole);
            views.extend(tasks);
        }
        home.store.commit().unwrap();
        views.sort_by_key(|view| std::cmp::Reverse(view.id));
        views
    }

    /// A value of a field, as one would type it.
    fn value(kind: Kind) -> BoxedStrategy<String> {
        let text = |all: &'static [&'static str]| of(all).prop_map(str::to_owned);
        match kind {
            Kind::Id => prop_oneof![
                (1u64..7).prop_map(|job| job.to_string()),
                (1u64..7, 0u32..5).prop_map(|(job, task)| format!("{job}.{task}")),
                (1u64..7, 0u64..4).prop_map(|(from, more)| format!("{from}-{}", from + more)),
            ]
            .boxed(),
            Kind::Text => prop_oneof![
                text(&["train", "TRAIN", "eval a", "a", "A", "x,y", "%", "_", "ž", "Ž", "\\", "'", "", "\u{fffd}"]),
                text(&["alice", "bob", "Bob", "default", "first try", "/home/alice", "/bin/true", "oom", "exit", "="]),
            ]
            .boxed(),
            Kind::State => {
                let all: Vec<&str> = JobState::ALL.map(JobState::word).into_iter().chain(["live", "ended"]).collect();
                prop::sample::select(all).prop_map(str::to_owned).boxed()
            }
            Kind::Number => prop_oneof![
                of(&NUMBERS).prop_map(|n| n.to_string()),
                of(&CODES).prop_map(|n| n.to_string()),
                of(&SIGNALS).prop_map(|n| n.to_string()),
            ]
            .boxed(),
            Kind::Size => {
                prop_oneof![of(&SIZES).prop_map(|n| n.to_string()), text(&["1M", "1G", "1.5G", "2K"])].boxed()
            }
            Kind::Duration => text(&["0", "1s", "2", "1h", "2h", "1h30m", "3600001ms", "36500d"]).boxed(),
            Kind::Instant => prop_oneof![
                text(&["today", "yesterday", "-2h", "-12h", "-0s", "2026-03-01", "2026-02-28T00:00:00Z"]),
                of(&TIMES).prop_map(|at| Timestamp(at).to_string()),
            ]
            .boxed(),
        }
    }

    /// A term that the language takes.
    fn term() -> impl Strategy<Value = String> {
        prop::sample::select(FIELDS).prop_flat_map(|(short, key, _, kind)| {
            let ops: &'static [&'static str] = match kind {
                Kind::Id | Kind::State => &["=", "!="],
                Kind::Text => &["=", "!=", "~", "!~"],
                _ => &["=", "!=", "<", "<=", ">", ">="],
            };
            (of(ops), any::<bool>(), prop::collection::vec(value(kind), 1..4)).prop_map(move |(op, long, values)| {
                let name = if long { key } else { short };
                let values = if op.starts_with(['<', '>']) { &values[..1] } else { &values[..] };
                format!("{name}{op}\"{}\"", values.join(","))
            })
        })
    }

    fn filter(terms: &[String]) -> Filter {
        let now = Timestamp(NOW).zoned(jiff::tz::TimeZone::UTC);
        Filter::parse(terms, &now).unwrap_or_else(|e| panic!("{terms:?}: {e}"))
    }

    /// What is asked of a list: terms, limit, before, hidden.
    type Ask = (Vec<String>, u32, Option<(u64, Option<u32>)>, Vec<(u64, u64)>);

    fn ask() -> impl Strategy<Value = Ask> {
        let before = prop::option::of((1u64..8, prop::option::of(0u32..5)));
        (prop::collection::vec(term(), 0..4), 0u32..9, before, prop::collection::vec((1u64..8, 0u64..3), 0..3))
    }

    fn answer(home: &Home, views: &[JobView], (terms, limit, before, hidden): Ask) -> Result<(), TestCaseError> {
        let filter = filter(&terms);
        let hides = |id: JobRef| hidden.iter().any(|(first, count)| (*first..first + count).contains(&id.job.0));
        let found: Vec<&JobView> = views.iter().filter(|v| filter.matches(v) && !hides(v.id)).collect();
        let tasks = found.iter().map(|v| v.id).filter(|id| id.task.is_some()).collect();
        let before = before.map(|(job, task)| JobRef { job: JobId(job), task });
        let hidden = hidden.into_iter().map(|(first, count)| (JobId(first), count)).collect();
        let mut page = Page { filter, limit, before, hidden, tasks };
        // One page, from anywhere.
        let rest: Vec<&JobView> = found.iter().copied().filter(|v| before.is_none_or(|b| v.id < b)).collect();
        let (rows, more) = home.list(&page);
        let rows: Vec<JobView> = rows.into_iter().map(view).collect();
        let want: Vec<JobView> = rest.iter().take(limit as usize).map(|v| (*v).clone()).collect();
        prop_assert_eq!(&rows, &want, "{:?} {:?}", &terms, &page);
        prop_assert_eq!(more, rest.len() > limit as usize, "{:?} {:?}", &terms, &page);
        // All pages, one after another.
        (page.limit, page.before) = (limit.max(1), None);
        let mut walked = Vec::new();
        loop {
            let (rows, more) = home.list(&page);
            walked.extend(rows.iter().map(|row| row.id));
            page.before = rows.last().map(|row| row.id);
            if !more {
                break;
            }
            prop_assert_eq!(rows.len(), page.limit as usize);
        }
        prop_assert_eq!(walked, found.iter().map(|v| v.id).collect::<Vec<_>>(), "{:?} {:?}", &terms, &page);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn sql_finds_what_the_filter_itself_would_find(
            pasts in prop::collection::vec(past(), 0..7),
            asks in prop::collection::vec(ask(), 40),
        ) {
            let mut home = Home::new();
            let views = remember(&mut home, &pasts);
            for ask in asks {
                answer(&home, &views, ask)?;
            }
        }
    }

    #[test]
    fn the_longest_filter_that_the_language_takes_can_be_asked() {
        let mut home = Home::new();
        home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
        home.store.commit().unwrap();
        let terms = |term: &str| vec![term.to_owned(); MAX_TERMS];
        let ids: Vec<String> = (1..=MAX_TERMS).map(|id| id.to_string()).collect();
        let values = |op: &str, of: &str| format!("{op}{}", [vec![of; 249], vec!["true"]].concat().join(","));
        let lists = |name: &str, op: &str, of: &str| vec![format!("{name}{}", values(op, of)); 4];
        for terms in [
            ids,
            terms("cpus>0"),
            terms("state!=failed"),
            terms("state=live"),
            terms("1.5,2-3,1"),
            lists("name", "=", "v"),
            lists("name", "~", "v"),
        ] {
            let now = Timestamp(NOW).zoned(jiff::tz::TimeZone::UTC);
            // One more than it takes is refused there, with a word about the bound.
            let Ok(filter) = Filter::parse(&terms, &now) else { continue };
            let page = Page { filter, limit: 10, ..Page::default() };
            let rows = home.readers.with(|reader| reader.list(&page)).unwrap_or_else(|e| panic!("{}: {e}", terms[0]));
            assert_eq!(rows.0.len(), 1, "{}", terms[0]);
        }
    }

    #[test]
    fn what_is_not_committed_is_seen_by_nobody_and_gone_after_a_roll_back() {
        let mut home = Home::new();
        let seq = home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
        let page = Page { limit: 10, ..Page::default() };
        assert!(home.list(&page).0.is_empty());
        home.store.roll_back();
        assert!(home.list(&page).0.is_empty());
        assert_eq!(home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap(), seq, "the number was not given out");
        home.store.commit().unwrap();
        assert_eq!(home.list(&page).0.len(), 1);
        assert_eq!(home.number("SELECT jobs FROM environment"), 1);
    }

    #[test]
    fn people_read_jobs_and_tasks_with_plain_sqlite() {
        let mut home = Home::new();
        home.submit(1, 1000, NOW, &text(r#"{"command":["true"],"name":"it's"}"#, "SECRET=1")).unwrap();
        home.submit(2, 1000, NOW, &text(r#"{"command":["step"],"array":"0-9"}"#, "SECRET=1")).unwrap();
        let task = JobRef::task(JobId(2), 3);
        home.write(&Event::Started { job: task, attempt: 1 });
        home.end(task, NOW);
        home.store.commit().unwrap();
        let db = plain(home.path());
        let mut statement = db.prepare("SELECT id, name, state, exit_code, ended FROM jobs ORDER BY id").unwrap();
        let read = |row: &rusqlite::Row<'_>| {
            let words: [Option<String>; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?];
            Ok((words.map(Option::unwrap_or_default).join("|"), row.get::<_, Option<i32>>(3)?))
        };
        let rows: Vec<(String, Option<i32>)> = statement.query_map([], read).unwrap().map(Result::unwrap).collect();
        let want = [
            ("1|it's|queued|", None),
            ("2|step|executing|", None),
            ("2.3|step|completed|2026-03-01 12:00:00", Some(0)),
        ];
        assert_eq!(rows, want.map(|(words, code)| (words.to_owned(), code)));
        let all = db.prepare("SELECT * FROM jobs").unwrap();
        assert!(!all.column_names().iter().any(|c| c.contains("environment")), "{:?}", all.column_names());
    }
}

mod environments {
    use super::*;

    /// How many environments there are, in both tables alike, and how many jobs they count.
    fn counted(home: &Home) -> (i64, i64) {
        let (count, bodies) = ("SELECT count(*) FROM environment", "SELECT count(*) FROM environment_body");
        assert_eq!(home.number(count), home.number(bodies), "an environment without its body, or the other way around");
        let jobs = home.number("SELECT coalesce(sum(jobs), 0) FROM environment");
        assert_eq!(jobs, home.number("SELECT count(*) FROM job"), "the counts are not what the jobs say");
        (home.number(count), jobs)
    }

    #[test]
    fn an_environment_is_kept_once_however_many_jobs_have_it() {
        let mut home = Home::new();
        for (id, environment) in (1..).zip(["A=1", "A=1", "A=2", "A=1", "A=2"]) {
            home.submit(id, 1000, NOW, &plain_text(environment)).unwrap();
            if id % 2 == 0 {
                home.store.commit().unwrap();
            }
        }
        home.store.commit().unwrap();
        assert_eq!(counted(&home), (2, 5));
        for (id, body) in [(1, "A=1\0"), (4, "A=1\0"), (3, "A=2\0"), (5, "A=2\0")] {
            assert_eq!(home.store.launch_text(JobId(id)).unwrap().environment, body.as_bytes(), "job {id}");
        }
    }

    #[test]
    fn a_discarded_bulk_takes_its_environment_with_it_unless_another_job_has_it() {
        let mut home = Home::new();
        for (id, environment) in (1..).zip(["A=1", "A=1", "A=2", "A=2"]) {
            home.submit(id, 1000, NOW, &plain_text(environment)).unwrap();
        }
        // Also when some of it was not committed yet.
        home.store.discard_jobs(JobId(2), 3).unwrap();
        home.store.commit().unwrap();
        assert_eq!(counted(&home), (1, 1));
        home.store.discard_jobs(JobId(1), 1).unwrap();
        home.store.commit().unwrap();
        assert_eq!(counted(&home), (0, 0));
        // The one that came last is not taken to be there still.
        home.submit(9, 1000, NOW, &plain_text("A=2")).unwrap();
        home.store.commit().unwrap();
        assert_eq!(counted(&home), (1, 1));
        assert_eq!(home.store.launch_text(JobId(9)).unwrap().environment, b"A=2\0");
    }

    #[test]
    fn forgotten_jobs_take_their_tasks_and_environments_and_nothing_that_lives() {
        let mut home = Home::new();
        let array = text(r#"{"command":["step"],"array":"0-9"}"#, "A=2");
        home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
        home.submit(2, 1000, NOW, &array).unwrap();
        home.submit(3, 1000, NOW, &plain_text("A=3")).unwrap();
        home.submit(4, 1000, NOW, &array).unwrap();
        home.submit(5, 1000, NOW, &plain_text("A=4")).unwrap();
        home.end(JobRef::whole(JobId(1)), NOW - 10);
        home.end(JobRef::task(JobId(2), 7), NOW - 10);
        home.end(JobRef::whole(JobId(2)), NOW - 5);
        home.end(JobRef::task(JobId(4), 7), NOW - 10);
        home.end(JobRef::whole(JobId(5)), NOW);
        home.store.commit().unwrap();
        assert_eq!(home.store.forget_jobs(Timestamp(NOW)).unwrap(), [JobId(1), JobId(2)]);
        assert_eq!(home.store.forget_jobs(Timestamp(NOW)).unwrap(), [], "there are no more");
        assert_eq!(counted(&home), (3, 3));
        assert_eq!(home.number("SELECT count(*) FROM task"), 1, "the task of a live array stays");
        assert_eq!(home.store.forget_jobs(Timestamp(NOW + 1)).unwrap(), [JobId(5)]);
        assert_eq!(counted(&home), (2, 2));
        // The one that came last is not taken to be there still.
        home.submit(9, 1000, NOW, &plain_text("A=4")).unwrap();
        home.store.commit().unwrap();
        assert_eq!(home.store.launch_text(JobId(9)).unwrap().environment, b"A=4\0");
    }

    #[test]
    fn forgetting_comes_in_bounded_pieces_until_all_is_gone() {
        let mut home = Home::new();
        for id in 1..=1_200 {
            home.submit(id, 1000, NOW, &plain_text(&format!("A={}", id % 7))).unwrap();
            home.end(JobId(id).into(), NOW - 1);
        }
        home.store.commit().unwrap();
        let mut gone = BTreeSet::new();
        for most in [500, 500, 200, 0] {
            let ids = home.store.forget_jobs(Timestamp(NOW)).unwrap();
            assert_eq!(ids.len(), most);
            gone.extend(ids);
        }
        assert_eq!((gone.len(), counted(&home)), (1_200, (0, 0)));
    }

    #[test]
    fn a_key_belongs_to_one_job_of_a_user() {
        let mut home = Home::new();
        let keyed = text(r#"{"command":["true"],"key":"nightly"}"#, "A=1");
        home.submit(1, 1000, NOW, &keyed).unwrap();
        home.submit(2, 1001, NOW, &keyed).unwrap();
        home.submit(3, 1000, NOW, &plain_text("A=1")).unwrap();
        home.submit(4, 1000, NOW, &plain_text("A=1")).unwrap();
        home.store.commit().unwrap();
        assert!(home.submit(5, 1000, NOW, &keyed).is_err());
        home.store.roll_back();
        let asked =
            [(1000, "nightly", Some(1)), (1001, "nightly", Some(2)), (1002, "nightly", None), (1000, "x", None)];
        for (uid, key, job) in asked {
            assert_eq!(home.store.job_of_key(uid, key).unwrap(), job.map(JobId), "{uid} {key}");
        }
        assert_eq!(counted(&home), (1, 4));
        // With the job its key is free again.
        home.store.discard_jobs(JobId(1), 1).unwrap();
        home.submit(6, 1000, NOW, &keyed).unwrap();
        home.store.commit().unwrap();
        assert_eq!(home.store.job_of_key(1000, "nightly").unwrap(), Some(JobId(6)));
    }
}

mod snapshots {
    use super::*;

    /// Events of a rich life, as a release stored them.
    fn golden() -> Vec<Event> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/events-0.1.0.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Writes events, and applies them to a core.
    fn tell<'a>(home: &mut Home, core: &mut Core, events: impl IntoIterator<Item = &'a Event>) {
        for event in events {
            home.write(event);
            core.apply(Timestamp(NOW), event);
        }
        home.store.commit().unwrap();
    }

    const OLDER: Seq = 40;
    const NEWER: Seq = 70;

    /// Three parts of a life, with a snapshot after the first and after the second.
    fn folded() -> (Home, Core) {
        let (mut home, mut core, events) = (Home::new(), Core::default(), golden());
        tell(&mut home, &mut core, &events[..40]);
        assert_eq!(fold::fold_here(home.path()).unwrap(), OLDER);
        tell(&mut home, &mut core, &events[40..70]);
        assert_eq!(fold::fold_here(home.path()).unwrap(), NEWER);
        tell(&mut home, &mut core, &events[70..]);
        (home, core)
    }

    fn snapshot(home: &Home, seq: Seq) -> PathBuf {
        home.path().join(format!("snapshot-{seq}"))
    }

    fn sql(home: &Home, statement: &str) {
        Connection::open(home.path().join(DATABASE)).unwrap().execute(statement, []).unwrap();
    }

    /// Ways in which a snapshot goes bad.
    fn damages(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let flipped = |at: usize| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= 1;
            bytes
        };
        let digit = whole.windows(12).position(|part| part == b"\"completed\":").unwrap() + 12;
        vec![
            ("one bit", flipped(whole.len() / 2)),
            ("another number", flipped(digit)),
            ("a bit of the checksum", flipped(whole.len() - 2)),
            ("cut in the middle", whole[..whole.len() / 2].to_vec()),
            ("without its checksum", whole[..whole.len() - 65].to_vec()),
            ("twice", [whole, whole].concat()),
            ("zeros", vec![0; whole.len()]),
            ("empty", Vec::new()),
        ]
    }

    #[test]
    fn a_snapshot_and_the_events_after_it_are_the_state_as_it_was() {
        let (home, core) = folded();
        assert_eq!(home.store.load().unwrap(), core);
        // What the older snapshot holds is not needed as events.
        sql(&home, "DELETE FROM event WHERE seq <= 40");
        assert_eq!(home.store.load().unwrap(), core);
        let last = home.store.last_seq();
        let Home { dir, store, readers } = home;
        drop((store, readers));
        let again = Store::open(dir.path(), Durability::Full).unwrap();
        assert_eq!((again.last_seq(), again.load().unwrap()), (last, core));
    }

    #[test]
    fn two_snapshots_are_kept_and_numbers_go_on_also_when_they_hold_all_events() {
        let (mut home, core) = folded();
        let newest = fold::fold_here(home.path()).unwrap();
        assert_eq!((fold::held_by_both(home.path()), fold::held(home.path())), (NEWER, newest));
        assert!(!snapshot(&home, OLDER).exists());
        sql(&home, "DELETE FROM event");
        assert_eq!(home.store.load().unwrap(), core);
        home.store = Store::open(home.path(), Durability::Full).unwrap();
        assert_eq!((home.store.last_seq(), home.store.load().unwrap()), (newest, core));
    }

    #[test]
    fn when_the_newest_snapshot_is_damaged_the_older_one_and_the_events_after_it_are_used() {
        let (home, core) = folded();
        sql(&home, "DELETE FROM event WHERE seq <= 40");
        let whole = std::fs::read(snapshot(&home, NEWER)).unwrap();
        for (how, bytes) in damages(&whole) {
            std::fs::write(snapshot(&home, NEWER), bytes).unwrap();
            assert_eq!(home.store.load().unwrap(), core, "{how}");
        }
        // The next fold begins from there, too.
        assert_eq!(fold::fold_here(home.path()).unwrap(), home.store.last_seq());
        sql(&home, "DELETE FROM event");
        assert_eq!(home.store.load().unwrap(), core);
    }

    #[test]
    fn when_both_snapshots_are_damaged_all_events_will_do_and_else_nothing_is_touched() {
        let (home, core) = folded();
        for seq in [OLDER, NEWER] {
            let whole = std::fs::read(snapshot(&home, seq)).unwrap();
            std::fs::write(snapshot(&home, seq), &damages(&whole)[0].1).unwrap();
        }
        assert_eq!(home.store.load().unwrap(), core, "from the first event on");
        for gone in ["seq = 1", "seq <= 40", "seq > 0"] {
            sql(&home, &format!("DELETE FROM event WHERE {gone}"));
            let before = files(home.path());
            for error in [home.store.load().unwrap_err(), fold::fold_here(home.path()).unwrap_err()] {
                assert!(matches!(error, StoreError::Damaged(..)), "{gone}: {error}");
                assert!(error.to_string().contains("snapshot"), "{gone}: {error}");
            }
            assert!(files(home.path()) == before, "{gone}: something was written");
        }
    }

    #[test]
    fn an_event_that_is_missing_or_not_understood_is_damage() {
        for change in
            ["DELETE FROM event WHERE seq = 75", "UPDATE event SET body = '{\"kind\":\"job.exploded\"}' WHERE seq = 75"]
        {
            let (home, _) = folded();
            sql(&home, change);
            let error = home.store.load().unwrap_err();
            assert!(matches!(error, StoreError::Damaged(..)) && error.to_string().contains("75"), "{change}: {error}");
        }
    }

    #[test]
    fn the_newest_events_are_kept_and_none_goes_that_the_older_snapshot_lacks() {
        const KEPT: Seq = 100_000;
        let (mut home, mut core) = (Home::new(), Core::default());
        tell(&mut home, &mut core, &golden());
        let signal = Event::Signalled { job: JobRef::whole(JobId(16)), signal: 10, by: 1000 };
        tell(&mut home, &mut core, std::iter::repeat_n(&signal, 6_000));
        let older = fold::fold_here(home.path()).unwrap();
        tell(&mut home, &mut core, std::iter::repeat_n(&signal, 99_000));
        let newer = fold::fold_here(home.path()).unwrap();
        let oldest = |home: &Home| home.readers.with(|reader| reader.oldest_event()).unwrap().unwrap();
        // Nothing is held; little is held; much is held, and the newest are kept all the same.
        for (held, left) in [(0, 1), (3, 4), (4_000, 4_001), (newer, newer - KEPT + 1)] {
            let mut pieces = 1;
            while home.store.forget_events(held).unwrap() {
                pieces += 1;
            }
            assert_eq!(oldest(&home), left, "{held}, in {pieces} pieces");
        }
        // Whichever of the two snapshots is good, what is left is enough.
        assert_eq!(fold::held_by_both(home.path()), older);
        for seq in [older, newer] {
            let whole = std::fs::read(snapshot(&home, seq)).unwrap();
            std::fs::write(snapshot(&home, seq), b"").unwrap();
            assert_eq!(home.store.load().unwrap(), core, "without {seq}");
            std::fs::write(snapshot(&home, seq), whole).unwrap();
        }
    }

    #[test]
    fn each_step_of_a_job_is_in_its_row_and_its_end_is_remembered() {
        let mut home = Home::new();
        home.submit(1, 1000, NOW, &text(r#"{"command":["true"],"validate":"v","compile":"c"}"#, "A=1")).unwrap();
        let job = JobRef::whole(JobId(1));
        for (event, state) in [
            (Event::StageStarted { job, stage: Stage::Validate }, JobState::Validating),
            (Event::StagePassed { job, stage: Stage::Validate }, JobState::Pending),
            (Event::StageStarted { job, stage: Stage::Compile }, JobState::Compiling),
            (Event::StagePassed { job, stage: Stage::Compile }, JobState::Queued),
            (Event::Started { job, attempt: 1 }, JobState::Allocating),
            (ended(job, NOW), JobState::Completed),
        ] {
            assert_eq!(home.store.past(job).unwrap(), None);
            home.write(&event);
            home.store.commit().unwrap();
            let row = home.readers.with(|reader| reader.row(job)).unwrap().unwrap();
            assert_eq!(row.state, state, "{event:?}");
        }
        assert_eq!(home.store.past(job).unwrap(), Some((JobState::Completed, true)));
        assert_eq!(home.store.past(JobRef::whole(JobId(2))).unwrap(), None);
    }
}

/// The files that a store is made of, with what is in them; not those that SQLite has while someone reads.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let paths = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap());
    paths.map(read).filter(|(name, _)| !name.ends_with("-shm") && !name.ends_with("-wal")).collect()
}

mod damage {
    use super::*;

    /// A store with some jobs and a snapshot, closed, all of it in its one file.
    fn closed() -> TempDir {
        let mut home = Home::new();
        for id in 1..=200 {
            home.submit(id, 1000, NOW, &plain_text(&format!("A={id}"))).unwrap();
        }
        home.store.commit().unwrap();
        fold::fold_here(home.path()).unwrap();
        let Home { dir, store, readers } = home;
        drop((store, readers));
        assert!(!dir.path().join(format!("{DATABASE}-wal")).exists(), "the last one folds the log");
        dir
    }

    /// Opens a store whose database was changed, and sees that nothing else happened to it.
    fn refused(how: &str, change: impl FnOnce(&Path)) -> StoreError {
        let dir = closed();
        change(&dir.path().join(DATABASE));
        let before = files(dir.path());
        let error = match Store::open(dir.path(), Durability::Full) {
            Err(error) => error,
            Ok(_) => panic!("{how}: it was opened"),
        };
        assert!(files(dir.path()) == before, "{how}: something was written: {error}");
        error
    }

    #[test]
    fn a_damaged_database_is_refused_and_stays_as_it_is() {
        enum Change {
            Cut(u64),
            Fill(usize, u8),
            Write(&'static [u8]),
            Remove,
        }
        let length = std::fs::metadata(closed().path().join(DATABASE)).unwrap().len();
        for (how, change) in [
            ("cut by a byte", Change::Cut(length - 1)),
            ("cut by a page", Change::Cut(length - 4_096)),
            ("cut in half", Change::Cut(length / 2)),
            ("only its header", Change::Cut(100)),
            ("not even its header", Change::Cut(60)),
            ("nothing, beside a snapshot", Change::Cut(0)),
            ("gone, beside a snapshot", Change::Remove),
            ("zeros", Change::Fill(0, 0)),
            ("zeros after its header", Change::Fill(100, 0)),
            ("garbage after its header", Change::Fill(100, 0xaa)),
            ("a short text", Change::Write(b"hello\n")),
            ("another long file", Change::Write(&[b'x'; 5_000])),
        ] {
            let error = refused(how, |path| match change {
                Change::Cut(to) => std::fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap(),
                Change::Fill(from, byte) => {
                    let mut bytes = std::fs::read(path).unwrap();
                    bytes[from..].fill(byte);
                    std::fs::write(path, bytes).unwrap();
                }
                Change::Write(bytes) => std::fs::write(path, bytes).unwrap(),
                Change::Remove => std::fs::remove_file(path).unwrap(),
            });
            assert!(matches!(error, StoreError::Damaged(..)), "{how}: {error:?}");
            assert!(error.refusal().hint.is_some_and(|hint| hint.contains("nothing was changed")), "{how}");
        }
    }

    #[test]
    fn a_database_of_a_later_release_is_refused_and_stays_as_it_is() {
        for sql in ["PRAGMA user_version = 99", "PRAGMA journal_mode = delete; PRAGMA user_version = 99"] {
            let error = refused(sql, |path| Connection::open(path).unwrap().execute_batch(sql).unwrap());
            assert!(matches!(error, StoreError::Newer(_)), "{sql}: {error:?}");
            assert!(error.refusal().hint.is_some_and(|hint| hint.contains("later")), "{sql}");
        }
    }

    #[test]
    fn the_log_of_a_later_release_is_not_folded_and_that_of_this_one_is_read() {
        // Copied while they are open, as a crash would leave them.
        let (home, newer) = (Home::new(), TempDir::new().unwrap());
        let db = Connection::open(home.path().join(DATABASE)).unwrap();
        db.execute("INSERT INTO event (seq, at, body) VALUES (1, 0, '{\"kind\":\"job.due\",\"job\":\"1\"}')", [])
            .unwrap();
        let crash = |to: &Path| {
            for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
                std::fs::copy(home.path().join(&name), to.join(name)).unwrap();
            }
        };
        let same = TempDir::new().unwrap();
        crash(same.path());
        db.execute_batch("PRAGMA user_version = 99").unwrap();
        crash(newer.path());
        assert_eq!(Store::open(same.path(), Durability::Full).unwrap().last_seq(), 1);
        let log = std::fs::read(newer.path().join(format!("{DATABASE}-wal"))).unwrap();
        let before = files(newer.path());
        assert!(matches!(Store::open(newer.path(), Durability::Full), Err(StoreError::Newer(_))));
        assert!(files(newer.path()) == before, "the database was written");
        assert!(std::fs::read(newer.path().join(format!("{DATABASE}-wal"))).unwrap() == log, "the log was written");
    }

    #[test]
    fn a_store_that_was_removed_takes_no_commit() {
        let mut home = Home::new();
        home.submit(1, 1000, NOW, &plain_text("A=1")).unwrap();
        std::fs::remove_file(home.path().join(DATABASE)).unwrap();
        assert!(matches!(home.store.commit(), Err(StoreError::Removed(_))));
    }

    #[test]
    fn a_store_that_is_opened_and_left_is_not_written() {
        let dir = closed();
        let before = files(dir.path());
        drop(Store::open(dir.path(), Durability::Full).unwrap());
        assert!(files(dir.path()) == before);
    }

    #[test]
    fn a_new_directory_and_one_that_was_just_begun_are_no_damage() {
        for begun in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            if begun {
                std::fs::write(dir.path().join(DATABASE), b"").unwrap();
            }
            let store = Store::open(dir.path(), Durability::Full).unwrap();
            assert_eq!((store.last_seq(), store.load().unwrap()), (0, Core::default()));
        }
    }
}
