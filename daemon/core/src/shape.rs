//! What jobs have in common that decides where and when they can run: amounts, alternatives, and the shape of a job.
//! It refuses to know single jobs.

use crate::MAX_RUNS;
use crate::state::Machine;
use qrm_protocol::amount::Priority;
use qrm_protocol::ids::Uid;
use qrm_protocol::job::{OnConflict, Variant};
use qrm_protocol::queue::QueueName;
use serde::{Deserialize, Serialize};

/// So much of everything that is shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Amounts {
    /// Of the most runs at once.
    pub places: u64,
    pub cpus: u64,
    pub mem: u64,
    pub disk: u64,
}

impl Amounts {
    /// What a machine offers.
    pub fn of(machine: &Machine) -> Self {
        Self { places: MAX_RUNS as u64, cpus: machine.cpus.into(), mem: machine.mem_bytes, disk: machine.disk_bytes }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            places: self.places.saturating_add(other.places),
            cpus: self.cpus.saturating_add(other.cpus),
            mem: self.mem.saturating_add(other.mem),
            disk: self.disk.saturating_add(other.disk),
        }
    }

    /// What is left without the other.
    pub fn less(self, other: Self) -> Self {
        Self {
            places: self.places.saturating_sub(other.places),
            cpus: self.cpus.saturating_sub(other.cpus),
            mem: self.mem.saturating_sub(other.mem),
            disk: self.disk.saturating_sub(other.disk),
        }
    }

    /// Whether there is at least as much of everything.
    pub fn holds(self, other: Self) -> bool {
        self.places >= other.places && self.cpus >= other.cpus && self.mem >= other.mem && self.disk >= other.disk
    }

    /// Whether so much is left beside what is taken. That may be more than there is: of what is not wanted nothing has to be left.
    pub fn leaves(self, taken: Self, want: Self) -> bool {
        self.less(taken).holds(want)
    }

    /// Of each the less.
    fn least(self, other: Self) -> Self {
        Self {
            places: self.places.min(other.places),
            cpus: self.cpus.min(other.cpus),
            mem: self.mem.min(other.mem),
            disk: self.disk.min(other.disk),
        }
    }

    /// The largest part of these that the other is, in millionths, at most all.
    pub fn part(self, other: Self) -> u64 {
        let one = |whole: u64, part: u64| match whole {
            0 => 0,
            whole => u64::try_from(u128::from(part) * 1_000_000 / u128::from(whole)).unwrap_or(u64::MAX),
        };
        let most = one(self.places, other.places).max(one(self.cpus, other.cpus));
        most.max(one(self.mem, other.mem)).max(one(self.disk, other.disk)).min(1_000_000)
    }
}

/// One of the ways in which a job can run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Want {
    pub amounts: Amounts,
    /// How long it may run; 0 is for ever.
    pub time_ms: u64,
}

impl Want {
    /// It wants the machine for itself.
    pub fn is_exclusive(self) -> bool {
        self.amounts.places > 1
    }
}

/// What jobs of one bucket have in common. First comes what differs most: shapes are compared often.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Shape {
    pub user: Uid,
    /// How long it may run; 0 is for ever.
    pub time_ms: u64,
    pub mem_bytes: u64,
    pub cpus: Option<u32>,
    pub priority: Priority,
    pub disk_bytes: u64,
    pub queue: QueueName,
    pub exclusive: bool,
    /// As they were asked for.
    pub variants: Vec<Variant>,
    pub idle: bool,
    /// By its own word; its queue may say so, too.
    pub preemptible: bool,
    pub min_run_ms: u64,
    /// It can save its work.
    pub saves: bool,
    /// Its own way; `None` is that of its queue.
    pub on_conflict: Option<OnConflict>,
}

impl Shape {
    /// The ways in which it can run, in order of preference: what it asks for first, its alternatives, and, if it would share,
    /// each that it would have alone once more beside others.
    pub fn wants(&self) -> Vec<Want> {
        let first = Variant {
            cpus: self.cpus,
            mem_bytes: Some(qrm_protocol::amount::Bytes(self.mem_bytes)),
            disk_bytes: Some(qrm_protocol::amount::Bytes(self.disk_bytes)),
            time_limit_ms: Some(qrm_protocol::time::Millis(self.time_ms)),
            exclusive: Some(self.exclusive),
        };
        let mut wants: Vec<Want> = std::iter::once(&first).chain(&self.variants).map(|v| self.want(v)).collect();
        if self.on_conflict == Some(OnConflict::Sharing) {
            for at in 0..wants.len() {
                let shared = Want { amounts: Amounts { places: 1, ..wants[at].amounts }, ..wants[at] };
                if !wants.contains(&shared) {
                    wants.push(shared);
                }
            }
        }
        wants
    }

    fn want(&self, variant: &Variant) -> Want {
        let alone = variant.exclusive.unwrap_or(self.exclusive);
        Want {
            amounts: Amounts {
                places: if alone { MAX_RUNS as u64 } else { 1 },
                cpus: variant.cpus.or(self.cpus).unwrap_or(1).into(),
                mem: variant.mem_bytes.map_or(self.mem_bytes, |mem| mem.0),
                disk: variant.disk_bytes.map_or(self.disk_bytes, |disk| disk.0),
            },
            time_ms: variant.time_limit_ms.map_or(self.time_ms, |time| time.0),
        }
    }
}

/// A shape, and what follows from it, worked out once for all of its jobs.
#[derive(Clone, Debug)]
pub(crate) struct Kind {
    shape: Shape,
    wants: Box<[Want]>,
    /// What each of its ways needs at least.
    pub least: Amounts,
}

impl Kind {
    pub fn new(shape: Shape) -> Self {
        let wants = shape.wants().into_boxed_slice();
        let least = wants.iter().map(|want| want.amounts).reduce(Amounts::least).unwrap_or_default();
        Self { shape, wants, least }
    }

    /// The ways in which its jobs can run; see [`Shape::wants`].
    pub fn wants(&self) -> &[Want] {
        &self.wants
    }

    /// The way of this number, from 0; the first if there is none.
    pub fn way(&self, variant: u8) -> Want {
        self.wants.get(usize::from(variant)).or(self.wants.first()).copied().unwrap_or_default()
    }
}

impl std::ops::Deref for Kind {
    type Target = Shape;

    fn deref(&self) -> &Shape {
        &self.shape
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.shape == other.shape
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Those of one bucket share one.
        if std::ptr::eq(self, other) { std::cmp::Ordering::Equal } else { self.shape.cmp(&other.shape) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_have_what_they_do_not_say_from_the_first() {
        let variants = vec![
            Variant { cpus: Some(1), ..Variant::default() },
            Variant { exclusive: Some(false), ..Variant::default() },
        ];
        let shape = Shape { cpus: Some(4), mem_bytes: 7, exclusive: true, variants, ..Shape::default() };
        let ways: Vec<(u64, u64, bool)> =
            shape.wants().iter().map(|w| (w.amounts.cpus, w.amounts.mem, w.is_exclusive())).collect();
        assert_eq!(ways, [(4, 7, true), (1, 7, true), (4, 7, false)]);
        let shares = Shape { on_conflict: Some(OnConflict::Sharing), ..shape };
        let ways: Vec<(u64, bool)> = shares.wants().iter().map(|w| (w.amounts.cpus, w.is_exclusive())).collect();
        assert_eq!(ways, [(4, true), (1, true), (4, false), (1, false)], "what is there already is not there twice");
    }

    #[test]
    fn the_part_of_a_machine_is_that_of_what_is_scarcest() {
        let machine = Amounts { places: 1_000, cpus: 4, mem: 100, disk: 0 };
        assert_eq!(machine.part(Amounts { places: 1, cpus: 1, mem: 50, disk: 0 }), 500_000);
        assert_eq!(machine.part(Amounts { places: 1_000, cpus: 0, mem: 0, disk: 0 }), 1_000_000);
        assert_eq!(Amounts::default().part(machine), 0, "of nothing there is no part");
    }
}
