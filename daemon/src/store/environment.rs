//! Environments, and the limits that came with them: each kept once however many jobs have it, and counted, so that it goes with the last of them.
//! It refuses to show one to anybody but a launch.

use super::{Store, StoreError};
use qrm_protocol::text::OsText;
use qrm_shim::plan::Rlimit;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// An environment, with the hash that tells it apart.
#[derive(Clone, PartialEq, Eq)]
pub struct Environment {
    hash: [u8; 32],
    body: Vec<u8>,
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Environment(…)")
    }
}

impl Environment {
    /// Of `NAME=value` entries, and the limits that processes with it have. An entry without a name is none.
    #[must_use]
    pub fn new(entries: &[OsText], limits: &[Rlimit]) -> Self {
        let mut body = Vec::with_capacity(entries.iter().map(|e| e.as_bytes().len() + 1).sum());
        for entry in entries.iter().filter(|entry| !entry.as_bytes().starts_with(b"=")) {
            body.extend_from_slice(entry.as_bytes());
            body.push(0);
        }
        if !limits.is_empty() {
            let each = limits.iter().map(|Rlimit { resource, soft, hard }| format!("{resource}:{soft}:{hard}"));
            body.extend_from_slice(LIMITS);
            body.extend_from_slice(each.collect::<Vec<_>>().join(" ").as_bytes());
            body.push(0);
        }
        Self::of_body(body)
    }

    /// Of entries that are ended by NULs.
    #[must_use]
    pub fn of_body(body: Vec<u8>) -> Self {
        Self { hash: Sha256::digest(&body).into(), body }
    }

    /// The entries, ended by NULs.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }
}

/// What stands before limits in a body, where no variable can be.
const LIMITS: &[u8] = b"=rlimits=";

/// The variables of a body, and the limits that came with them.
pub fn parts(body: &[u8]) -> (impl Iterator<Item = &[u8]>, Vec<Rlimit>) {
    let entries = body.split(|byte| *byte == 0).filter(|entry| !entry.is_empty());
    let limits = entries.clone().filter_map(|entry| std::str::from_utf8(entry.strip_prefix(LIMITS)?).ok());
    let one = |text: &str| {
        let mut numbers = text.split(':');
        let resource = numbers.next()?.parse().ok()?;
        let (soft, hard) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        Some(Rlimit { resource, soft, hard })
    };
    let limits = limits.flat_map(|text| text.split(' ').filter_map(one)).collect();
    (entries.filter(|entry| !entry.starts_with(LIMITS)), limits)
}

impl Store {
    pub(super) fn environment(&mut self, environment: &Arc<Environment>) -> Result<i64, StoreError> {
        if let Some((last, id, jobs)) = &mut self.last_environment
            && last.hash == environment.hash
        {
            *jobs += 1;
            return Ok(*id);
        }
        self.count_environment()?;
        let known = self
            .db
            .prepare_cached("SELECT id FROM environment WHERE hash = ?")?
            .query_row([&environment.hash[..]], |row| row.get(0))
            .optional()?;
        let id = match known {
            Some(id) => id,
            None => {
                let id: i64 = self
                    .db
                    .prepare_cached("INSERT INTO environment (hash, jobs) VALUES (?, 0) RETURNING id")?
                    .query_row([&environment.hash[..]], |row| row.get(0))?;
                self.db
                    .prepare_cached("INSERT INTO environment_body (id, body) VALUES (?, ?)")?
                    .execute(params![id, environment.body])?;
                id
            }
        };
        self.last_environment = Some((environment.clone(), id, 1));
        Ok(id)
    }

    /// Brings the count of the environment that came last up to date.
    pub(super) fn count_environment(&mut self) -> Result<(), StoreError> {
        let Some((_, id, jobs)) = &mut self.last_environment else { return Ok(()) };
        if *jobs > 0 {
            self.db
                .prepare_cached("UPDATE environment SET jobs = jobs + ? WHERE id = ?")?
                .execute(params![*jobs, *id])?;
            *jobs = 0;
        }
        Ok(())
    }

    /// Forgets which environment came last; its row may be gone.
    pub(super) fn forget_environment(&mut self) -> Result<(), StoreError> {
        self.count_environment()?;
        self.last_environment = None;
        Ok(())
    }
}
