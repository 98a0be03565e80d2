//! What the words after a verb mean: ids, or what a filter finds, page by page.
//! It refuses to know what is done to them.

use super::jobs::{no_such, page, row};
use super::view::Eyes;
use super::{Client, Shared};
use crate::store::Row;
use qrm_protocol::error::Error;
use qrm_protocol::filter::{Field, Filter, Op, Term, Value};
use qrm_protocol::ids::JobRef;
use qrm_protocol::job::JobState;
use std::collections::BTreeSet;

/// The most jobs that an answer names.
pub(super) const MOST_NAMED: usize = 1_000;
/// So many are found and dealt with at once; others are served in between.
const SLICE: u32 = 1_000;

/// What was named.
pub(super) enum Targets {
    /// Nothing but ids, in the order in which they were written, each once.
    Ids(Vec<JobRef>),
    /// What is to be looked for.
    Filter(Filter),
}

impl Targets {
    /// What words mean. Also beside a range or another term, an id that is named must be there.
    ///
    /// # Errors
    /// No word, words that mean nothing, and an id that there is none of.
    pub(super) async fn parse(shared: &Shared, words: &[String], example: &str) -> Result<Self, Error> {
        let filter = Filter::parse(words, &jiff::Zoned::now())?;
        if filter.terms.is_empty() {
            let hint = format!("name ids, as 12 13.4 20-29, or a filter, as {example}");
            return Err(Error::invalid("no job is named").hint(hint));
        }
        if let Some(mut ids) = named(&filter) {
            let mut seen = BTreeSet::new();
            ids.retain(|id| seen.insert(*id));
            return Ok(Self::Ids(ids));
        }
        let ids = filter.terms.iter().filter(|term| term.field == Field::Id && term.op == Op::Eq);
        for value in ids.flat_map(|term| &term.values) {
            if let Value::One(id) = value
                && !is_live(shared, *id).await?
                && !has_ended(shared, *id).await?
            {
                return Err(no_such(*id));
            }
        }
        Ok(Self::Filter(filter))
    }
}

/// The ids, if nothing but ids was said.
fn named(filter: &Filter) -> Option<Vec<JobRef>> {
    let [Term { field: Field::Id, op: Op::Eq, values, .. }] = filter.terms.as_slice() else { return None };
    values.iter().map(|value| if let Value::One(id) = value { Some(*id) } else { None }).collect()
}

async fn is_live(shared: &Shared, id: JobRef) -> Result<bool, Error> {
    Ok(are_live(shared, &[id]).await?.first() == Some(&true))
}

/// Which of these live, in their order.
pub(super) async fn are_live(shared: &Shared, ids: &[JobRef]) -> Result<Vec<bool>, Error> {
    let asked = ids.to_vec();
    shared.engine.look(move |core, _| asked.into_iter().map(|id| core.is_live(id)).collect()).await
}

/// Whether something that is not alive was there once. A task of a living array that is not alive has ended, too.
pub(super) async fn has_ended(shared: &Shared, id: JobRef) -> Result<bool, Error> {
    let array_lives = shared.engine.look(move |core, _| id.task.is_some() && core.owner(id.job).is_some()).await?;
    Ok(row(shared, id).await?.is_some_and(|row| array_lives || row.state.is_terminal()))
}

/// The rows that a filter finds among those of some states.
pub(super) struct Found {
    filter: Filter,
    before: Option<JobRef>,
    more: bool,
}

impl Found {
    /// Those whose state is meant.
    pub(super) fn among(mut filter: Filter, is_meant: impl Fn(JobState) -> bool) -> Self {
        let states = JobState::ALL.into_iter().filter(|state| is_meant(*state)).collect();
        filter.terms.push(Term::new(Field::State, Op::Eq, vec![Value::States(states)]));
        Self { filter, before: None, more: true }
    }

    /// The next page of them, the newest first; nothing when that was all.
    pub(super) async fn next(&mut self, client: &Client, shared: &Shared) -> Result<Option<Vec<Row>>, Error> {
        if !self.more {
            return Ok(None);
        }
        let (rows, more) = page(shared, Eyes::of(client, shared), self.filter.clone(), SLICE, self.before).await?;
        (self.before, self.more) = (rows.last().map(|row| row.id), more);
        Ok(Some(rows))
    }
}
