//! Lists by filters: what SQL finds is what a naive look at every row finds, page by page.
//! It refuses to know how the conditions are written.

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
const LABELS: [(&str, &str); 3] = [("team", "train"), ("team", "ž\""), ("a.b/c", "")];
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
    let words =
        (prop::option::of(of(&NAMES)), of(&USERS), prop::option::of(of(&COMMENTS)), prop::option::of(of(&LABELS)));
    let places = (of(&COMMANDS), of(&CWDS), any::<(bool, bool)>());
    let queue = prop::option::of(of(&["night", "default"]));
    let amounts =
        (0u64..=100, prop::option::of(0u32..4), prop::option::of(of(&SIZES)), prop::option::of(1u64..4), queue);
    let tasks = prop::option::weighted(0.4, prop::collection::btree_map(0u32..5, life(), 0..4));
    (words, places, amounts, of(&TIMES), life(), tasks).prop_map(
        |(
            (name, user, comment, label),
            (command, cwd, stages),
            (priority, cpus, mem, hours, queue),
            submitted,
            life,
            tasks,
        )| {
            let words: Vec<OsText> = command.iter().map(|word| os(word)).collect();
            let mut json = serde_json::json!({
                "command": words, "name": name, "comment": comment, "priority": priority, "cpus": cpus,
                "mem_bytes": mem, "time_limit_ms": hours.map(|h| h * 3_600_000), "queue": queue,
            });
            if let Some((name, value)) = label {
                json["labels"] = serde_json::json!({ name: value, "always": "x" });
            }
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
        home.write(&started(job, attempt, granted(attempt)));
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
            home.write(&Event::Requeued { job, attempt, started_at: None, failure, due_boot_ms: 9, usage });
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

/// What an attempt has that has not what its job asks for first: every other one.
fn granted(attempt: u32) -> Option<Takes> {
    match attempt {
        1 => None,
        2 => Some(Takes { cpus: 3, mem_bytes: (1 << 30) + 1, time_ms: 3_600_000, ..Takes::default() }),
        _ => Some(Takes::default()),
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
    if let Some(takes) = granted(attempt).filter(|_| attempt > 0 && !matches!(life, Life::Requeued(..))) {
        let some = |amount: u64| Some(amount).filter(|amount| *amount > 0);
        (view.cpus, view.mem_bytes) = (takes.cpus, some(takes.mem_bytes).map(Bytes));
        view.time_limit_ms = some(takes.time_ms).map(Millis);
    }
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
        priority: past.spec.priority.unwrap_or_default(),
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
        labels: past.spec.labels.clone(),
        options: Options::of(&past.spec),
        progress: None,
        has_stages: staged,
        queue: past.spec.queue.clone().unwrap_or_default(),
        takes: None,
    }
}

/// A row as a filter looks at it.
fn view(row: Row) -> JobView {
    let (cpu_ms, peak_memory_bytes) = (row.cpu_ms, row.peak_memory);
    let takes = row.takes.map(|taken| taken.takes);
    let some = |amount: u64| Some(amount).filter(|amount| *amount > 0);
    JobView {
        id: row.id,
        name: row.name,
        user: row.user,
        queue: row.queue,
        state: row.state,
        attempt: row.attempt,
        priority: row.priority,
        command: row.command,
        cwd: row.cwd,
        scope: String::new(),
        labels: row.labels,
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
        variants: Vec::new(),
        variant: None,
        exclusive: false,
        idle: false,
        preemptible: false,
        checkpoint_signal: None,
        min_run_ms: None,
        on_conflict: None,
        offers: Vec::new(),
        devices: Vec::new(),
        cpus: takes.map_or(row.cpus, |takes| takes.cpus),
        mem_bytes: takes.map_or(row.mem, |takes| some(takes.mem_bytes).map(Bytes)),
        pids: row.options.pids,
        open_files: row.options.open_files,
        io_weight: row.options.io_weight,
        disk_bytes: row.options.disk_bytes,
        enforcement: qrm_protocol::job::Enforcement::default(),
        vram_bytes: None,
        time_limit_ms: takes.map_or(row.time_limit, |takes| some(takes.time_ms).map(Millis)),
        retries: 0,
        stop_signal: None,
        grace_ms: None,
        array: None,
        tasks: None,
        after: Vec::new(),
        usage: UsageView { cpu_ms, peak_memory_bytes, gpu_ms: None, cost_credits: None },
        now: None,
        progress: row.progress,
        queue_timeout_ms: None,
        deadline: None,
        output: Vec::new(),
        pty: None,
        dir: String::new(),
        stdout: None,
        stderr: None,
    }
}

/// Writes the history of jobs 1 to n, and says how all of them should look, newest first.
fn remember(home: &mut Home, pasts: &[Past]) -> Vec<JobView> {
    let mut views = Vec::new();
    for (id, past) in (1..).zip(pasts) {
        let (spec, cwd, environment) = (past.spec.clone(), past.cwd.clone(), Arc::new(Environment::new(&[], &[])));
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
            // One that waited for another attempt ends with its array.
            if let (Life::Requeued(..), Life::Ended(_, end)) = (life, &past.life) {
                of_task.state = if end.state == JobState::Timeout { JobState::Timeout } else { JobState::Cancelled };
                of_task.ended_at = Some(Timestamp(end.at));
            }
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
            text(&[
                "alice",
                "bob",
                "Bob",
                "default",
                "night",
                "first try",
                "/home/alice",
                "/bin/true",
                "oom",
                "exit",
                "="
            ]),
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
        Kind::Size => prop_oneof![of(&SIZES).prop_map(|n| n.to_string()), text(&["1M", "1G", "1.5G", "2K"])].boxed(),
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
    let labels = ["label.team", "labels.team", "label.a.b/c", "label.always", "label.never"]
        .map(|name| (name, name, Kind::Text));
    let fields = FIELDS.iter().map(|(short, key, _, kind)| (*short, *key, *kind)).chain(labels);
    prop::sample::select(fields.collect::<Vec<_>>()).prop_flat_map(|(short, key, kind)| {
        let ops: &'static [&'static str] = match kind {
            Kind::Id | Kind::State => &["=", "!="],
            Kind::Text => &["=", "!=", "~", "!~"],
            _ => &["=", "!=", "<", "<=", ">", ">="],
        };
        (of(ops), any::<bool>(), prop::collection::vec(value(kind), 1..4)).prop_map(move |(op, long, values)| {
            let name = if long { key } else { short };
            let values = if op.starts_with(['<', '>']) { &values[..1] } else { &values[..] };
            format!("{name}{op}\"{}\"", values.join("\",\""))
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
    let mut page = Page { filter, limit, before, hidden, tasks, words_of: None };
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
    let mut asked = 0;
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
        asked += 1;
    }
    assert_eq!(asked, 6, "but for one");
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
    home.write(&started(task, 1, None));
    home.end(task, NOW);
    home.store.commit().unwrap();
    let db = plain(home.path());
    let mut statement = db.prepare("SELECT id, name, state, exit_code, ended FROM jobs ORDER BY id").unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let words: [Option<String>; 4] = [row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?];
        Ok((words.map(Option::unwrap_or_default).join("|"), row.get::<_, Option<i32>>(3)?))
    };
    let rows: Vec<(String, Option<i32>)> = statement.query_map([], read).unwrap().map(Result::unwrap).collect();
    let want =
        [("1|it's|queued|", None), ("2|step|executing|", None), ("2.3|step|completed|2026-03-01 12:00:00", Some(0))];
    assert_eq!(rows, want.map(|(words, code)| (words.to_owned(), code)));
    let all = db.prepare("SELECT * FROM jobs").unwrap();
    assert!(!all.column_names().iter().any(|c| c.contains("environment")), "{:?}", all.column_names());
}
