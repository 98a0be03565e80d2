//! Readers: connections that only read, beside the writer, each call a short transaction.
//! They refuse to know what the core knows; what lives is completed elsewhere.

use super::filter::{Of, Param, conditions};
use super::row::{JOB_COLUMNS, Row, TASK_COLUMNS};
use super::{DATABASE, StoreError, open};
use qrm_protocol::filter::{Field, Filter, command_text};
use qrm_protocol::ids::{JobId, JobRef, Seq, Uid};
use qrm_protocol::text::OsText;
use qrm_protocol::time::Timestamp;
use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params, params_from_iter};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A connection that reads.
pub struct Reader {
    db: Connection,
}

/// The readers that are not in use; a call takes one, and puts it back.
pub struct Readers {
    state: PathBuf,
    // A lock, because calls come from several threads; it is held for a push or a pop.
    idle: Mutex<Vec<Reader>>,
}

/// How many idle readers are kept.
const IDLE: usize = 2;

impl Readers {
    /// Of a state directory.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { state: state.to_owned(), idle: Mutex::new(Vec::new()) }
    }

    /// Calls with a reader.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn with<T>(&self, call: impl FnOnce(&Reader) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.pop());
        let reader = idle.map_or_else(|| Reader::open(&self.state), Ok)?;
        let result = call(&reader);
        if let Ok(mut idle) = self.idle.lock()
            && idle.len() < IDLE
        {
            idle.push(reader);
        }
        result
    }
}

/// What a list asks for.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// All must hold; if there are none, `tasks` says which tasks are listed.
    pub filter: Filter,
    /// At most so many.
    pub limit: u32,
    /// Only what comes after it in the list.
    pub before: Option<JobRef>,
    /// Ids that nobody may see yet: first and count.
    pub hidden: Vec<(JobId, u64)>,
    /// Words are looked for in the jobs of this user alone, if it is said.
    pub words_of: Option<Uid>,
    /// The tasks that an unfiltered list has beside the jobs.
    pub tasks: Vec<JobRef>,
}

/// An event as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastEvent {
    /// Its number.
    pub seq: Seq,
    /// When it was decided.
    pub at: Timestamp,
    /// JSON with its `kind`.
    pub body: String,
}

/// Whether a field is of what people say of a job.
fn is_of_words(field: Field) -> bool {
    matches!(field, Field::Name | Field::Command | Field::Cwd | Field::Comment | Field::Label)
}

impl Reader {
    fn open(state: &Path) -> Result<Self, StoreError> {
        let db = open(&state.join(DATABASE), OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
        db.create_scalar_function("command_text", 1, flags, |context| {
            let words: Vec<OsText> = serde_json::from_str(context.get_raw(0).as_str()?).unwrap_or_default();
            Ok(command_text(&words))
        })?;
        db.create_scalar_function("os_text", 1, flags, |context| {
            let text: OsText = serde_json::from_str(context.get_raw(0).as_str()?).unwrap_or_default();
            Ok(text.lossy().into_owned())
        })?;
        Ok(Self { db })
    }

    pub(super) fn db(&self) -> &Connection {
        &self.db
    }

    /// Reads several things at one instant: the store is locked and looked at once for all of them.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn at_once<T>(&self, call: impl FnOnce(&Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        // It ends with this, however that goes.
        let _instant = self.db.unchecked_transaction()?;
        call(self)
    }

    /// One job or task.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn row(&self, id: JobRef) -> Result<Option<Row>, StoreError> {
        let found = match id.task {
            None => self
                .db
                .prepare_cached(&format!("SELECT {JOB_COLUMNS} FROM job j WHERE j.id = ?"))?
                .query_row([id.job.0], Row::read)
                .optional()?,
            Some(task) => self
                .db
                .prepare_cached(&format!(
                    "SELECT {TASK_COLUMNS} FROM task t JOIN job j ON j.id = t.job WHERE t.job = ? AND t.task = ?"
                ))?
                .query_row(params![id.job.0, task], Row::read)
                .optional()?,
        };
        Ok(found)
    }

    /// Those of these jobs that are a user's.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn jobs_of(&self, uid: Uid, jobs: BTreeSet<JobId>) -> Result<BTreeSet<JobId>, StoreError> {
        let mut is_own = self.db.prepare_cached("SELECT 1 FROM job WHERE id = ? AND uid = ?")?;
        let mut own = BTreeSet::new();
        for job in jobs {
            if is_own.exists(params![job.0, uid])? {
                own.insert(job);
            }
        }
        Ok(own)
    }

    /// When the oldest of the last so many ended; `None` if fewer have.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn ended_as_last(&self, of: u64) -> Result<Option<Timestamp>, StoreError> {
        let Some(before) = of.checked_sub(1).and_then(|n| i64::try_from(n).ok()) else { return Ok(None) };
        let mut newest = self.db.prepare_cached(
            "SELECT ended_at FROM job WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT 1 OFFSET ?",
        )?;
        Ok(newest.query_row([before], |row| row.get(0).map(Timestamp)).optional()?)
    }

    /// How many jobs ended before an instant.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn count_ended_before(&self, before: Timestamp) -> Result<u64, StoreError> {
        let mut count = self.db.prepare_cached("SELECT count(*) FROM job WHERE ended_at < ?")?;
        Ok(count.query_row([before.0], |row| row.get(0))?)
    }

    /// Jobs and tasks, newest first, and whether there are more.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn list(&self, page: &Page) -> Result<(Vec<Row>, bool), StoreError> {
        let more = page.limit as usize + 1;
        let mut rows = self.select(page, Of::Jobs, more)?;
        if page.filter.terms.is_empty() {
            let below = |task: &&JobRef| page.before.is_none_or(|before| **task < before);
            for task in page.tasks.iter().filter(below) {
                rows.extend(self.row(*task)?);
            }
        } else {
            rows.extend(self.select(page, Of::Tasks, more)?);
        }
        rows.sort_by_key(|row| std::cmp::Reverse(row.id));
        rows.truncate(more);
        let there_are_more = rows.len() == more;
        rows.truncate(page.limit as usize);
        Ok((rows, there_are_more))
    }

    fn select(&self, page: &Page, of: Of, limit: usize) -> Result<Vec<Row>, StoreError> {
        let (mut conditions, mut values) = conditions(&page.filter, of);
        if let Some(before) = page.before {
            values.push(Param::Number(before.job.0.cast_signed()));
            match (of, before.task) {
                (Of::Jobs, None) => conditions += " AND j.id < ?",
                (Of::Jobs, Some(_)) => conditions += " AND j.id <= ?",
                (Of::Tasks, None) => conditions += " AND t.job < ?",
                (Of::Tasks, Some(task)) => {
                    conditions += " AND (t.job, t.task) < (?, ?)";
                    values.push(Param::Number(task.into()));
                }
            }
        }
        // Who does not see a word is not told by a filter either whether it is there.
        if let Some(uid) = page.words_of.filter(|_| page.filter.terms.iter().any(|term| is_of_words(term.field))) {
            conditions += " AND j.uid = ?";
            values.push(Param::Number(uid.into()));
        }
        for (first, count) in &page.hidden {
            conditions += " AND (j.id < ? OR j.id >= ?)";
            values.push(Param::Number(first.0.cast_signed()));
            values.push(Param::Number(first.0.saturating_add(*count).cast_signed()));
        }
        let sql = match of {
            Of::Jobs => format!("SELECT {JOB_COLUMNS} FROM job j WHERE {conditions} ORDER BY j.id DESC LIMIT {limit}"),
            Of::Tasks => format!(
                "SELECT {TASK_COLUMNS} FROM task t CROSS JOIN job j ON j.id = t.job WHERE {conditions}
                 ORDER BY t.job DESC, t.task DESC LIMIT {limit}"
            ),
        };
        let mut statement = self.db.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), Row::read)?.collect::<Result<_, _>>()?;
        Ok(rows)
    }

    /// The jobs that ended last, newest first.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn last_ended(&self, limit: u32) -> Result<Vec<Row>, StoreError> {
        let sql =
            format!("SELECT {JOB_COLUMNS} FROM job j WHERE j.ended_at IS NOT NULL ORDER BY j.ended_at DESC LIMIT ?");
        let mut statement = self.db.prepare_cached(&sql)?;
        Ok(statement.query_map([limit], Row::read)?.collect::<Result<_, _>>()?)
    }

    /// The events after a number, oldest first: at most so many, and none after those that fill so many bytes.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn events(&self, after: Seq, limit: u32, bytes: usize) -> Result<Vec<PastEvent>, StoreError> {
        let mut statement =
            self.db.prepare_cached("SELECT seq, at, body FROM event WHERE seq > ? ORDER BY seq LIMIT ?")?;
        let mut rows = statement.query(params![after, limit])?;
        let (mut events, mut filled) = (Vec::new(), 0);
        while filled < bytes
            && let Some(row) = rows.next()?
        {
            let event = PastEvent { seq: row.get(0)?, at: Timestamp(row.get(1)?), body: row.get(2)? };
            filled += event.body.len();
            events.push(event);
        }
        Ok(events)
    }

    /// The number of the oldest event that is kept.
    ///
    /// # Errors
    /// The store can not be read.
    pub fn oldest_event(&self) -> Result<Option<Seq>, StoreError> {
        Ok(self.db.query_row("SELECT min(seq) FROM event", [], |row| row.get(0))?)
    }
}
