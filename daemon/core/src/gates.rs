//! Tasks of an array that wait one by one, each for the task of another array that has its index.
//! It refuses to know whole jobs that wait for others; see [`crate::depend`].

use crate::depend::{Happened, Verdict, verdict};
use crate::event::Event;
use crate::job::{Demand, Need, Tasks, When, boxed};
use crate::ranges::Ranges;
use crate::refusal::Refusal;
use crate::state::Core;
use crate::step::Deciding;
use crate::submit::PastEnd;
use qrm_protocol::ids::{JobId, JobRef};
use qrm_protocol::job::{ArraySpec, DependsOn, JobState};
use qrm_protocol::time::Timestamp;
use serde::{Deserialize, Serialize};

/// A dependency that is met for each task by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Gate {
    /// On the tasks of this array by their index; where one of several dependencies is enough, also on a whole job.
    pub on: DependsOn,
    /// What must have happened to them.
    pub when: When,
    /// Tasks, by their place in the array, for which it is not decided, as pairs of first and last.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<(u32, u32)>"))]
    pub(crate) open: Ranges,
    /// Tasks for which it can never be met.
    #[serde(default, skip_serializing_if = "Ranges::is_empty")]
    #[cfg_attr(feature = "schema", schemars(with = "Vec<(u32, u32)>"))]
    pub(crate) never: Ranges,
}

/// For which tasks something is decided.
#[derive(Clone, Copy, Debug)]
enum Told {
    All,
    Index(u32),
}

impl Gate {
    /// Which tasks what happened to `on` is about.
    fn told(&self, on: JobRef) -> Option<Told> {
        match (self.on, on.task) {
            (DependsOn::One(one), _) if one == on => Some(Told::All),
            (DependsOn::Each(job), Some(index)) if job == on.job => Some(Told::Index(index)),
            _ => None,
        }
    }

    /// Decides for those; which they are.
    fn tell(&mut self, spec: ArraySpec, told: Told, verdict: Verdict) -> Ranges {
        if verdict == Verdict::Open {
            return Ranges::default();
        }
        let mut decided = Ranges::default();
        match told {
            Told::All => decided = self.open.take(),
            Told::Index(index) if spec.contains(index) => {
                let ordinal = (index - spec.first) / spec.step;
                if self.open.remove(ordinal) {
                    decided.insert(ordinal);
                }
            }
            Told::Index(_) => {}
        }
        if verdict == Verdict::Never {
            self.never = self.never.plus(&decided);
        }
        decided
    }
}

impl Tasks {
    /// Has tasks wait for these, and sorts those that wait: into those that may start, that do not yet, and that never will.
    pub fn set_gates(&mut self, gates: Vec<Gate>, any: bool) {
        self.gates = gates;
        let waiting = self.waiting.plus(&self.gated).plus(&self.barred);
        let all = |of: fn(&Gate) -> &Ranges| self.gates.iter().fold(Ranges::default(), |sum, gate| sum.plus(of(gate)));
        let (ready, barred) = match (self.gates.as_slice(), any) {
            ([], _) => (waiting.clone(), Ranges::default()),
            (_, false) => {
                let barred = all(|gate| &gate.never);
                (waiting.less(&barred).less(&all(|gate| &gate.open)), barred)
            }
            (gates, true) => {
                let closed = |gate: &Gate| gate.open.plus(&gate.never);
                let held = gates.iter().fold(waiting.clone(), |held, gate| held.less(&held.less(&closed(gate))));
                let barred = gates.iter().fold(waiting.clone(), |held, gate| held.less(&held.less(&gate.never)));
                (waiting.less(&held), barred)
            }
        };
        // One between two attempts has started, and waits for nobody any more.
        let old: Ranges = self.again.keys().copied().filter(|ordinal| waiting.contains(*ordinal)).collect();
        self.barred = waiting.less(&waiting.less(&barred)).less(&old);
        self.waiting = ready.plus(&old);
        self.gated = waiting.less(&self.waiting).less(&self.barred);
    }

    /// Decides what happened to `on`.
    fn tell_gates(&mut self, any: bool, decide: impl Fn(&Gate) -> Option<(Told, Verdict)>) {
        let mut decided = Ranges::default();
        let spec = self.spec;
        for gate in &mut self.gates {
            if let Some((told, verdict)) = decide(gate) {
                decided = decided.plus(&gate.tell(spec, told, verdict));
            }
        }
        for ordinal in decided.iter() {
            if !self.gated.contains(ordinal) {
                continue;
            }
            let open = |gate: &Gate| gate.open.contains(ordinal);
            let never = |gate: &Gate| gate.never.contains(ordinal);
            let met = |gate: &Gate| !open(gate) && !never(gate);
            let (ready, barred) = match any {
                false => (self.gates.iter().all(met), self.gates.iter().any(never)),
                true => (self.gates.iter().any(met), self.gates.iter().all(never)),
            };
            if ready || barred {
                self.gated.remove(ordinal);
                if ready {
                    self.waiting.insert(ordinal)
                } else {
                    self.barred.insert(ordinal)
                };
            }
        }
    }
}

impl Core {
    /// Who waits for tasks of arrays that are over, or for tasks that are.
    pub(crate) fn tell_gates(&mut self, at: Timestamp, id: JobId, on: JobRef, happened: Happened) {
        let decide = |gate: &Gate| Some((gate.told(on)?, verdict(gate.when, happened)));
        self.decide_gates(at, id, decide);
    }

    /// The rest of an array's tasks never ran.
    pub(crate) fn tell_rest(&mut self, at: Timestamp, id: JobId, array: JobId) {
        let is_of = |gate: &Gate| match gate.on {
            DependsOn::Each(job) => job == array,
            DependsOn::One(one) => one.job == array && one.task.is_some(),
        };
        let never = Happened::Ended(JobState::Cancelled);
        self.decide_gates(at, id, |gate| is_of(gate).then(|| (Told::All, verdict(gate.when, never))));
    }

    fn decide_gates(&mut self, at: Timestamp, id: JobId, decide: impl Fn(&Gate) -> Option<(Told, Verdict)>) {
        let before = self.awaited_by(id);
        if let Some(job) = self.jobs.get(&id) {
            let mut gates = job.tasks.iter().flat_map(|tasks| &tasks.gates);
            if !gates.any(|gate| decide(gate).is_some()) {
                return;
            }
            self.change(at, id, |job| {
                let any = job.rare().is_some_and(|rare| rare.any);
                if let Some(tasks) = &mut job.tasks {
                    tasks.tell_gates(any, decide);
                }
            });
        } else {
            self.decide_staged(id, decide);
        }
        let after = self.awaited_by(id);
        self.unwatch_needs(id, before.into_iter().filter(|job| !after.contains(job)));
    }

    fn decide_staged(&mut self, id: JobId, decide: impl Fn(&Gate) -> Option<(Told, Verdict)>) {
        let Some((_, bulk)) = self.bulks.range_mut(..=id).next_back() else { return };
        let Ok(place) = bulk.jobs.binary_search_by_key(&id, |(id, _)| *id) else { return };
        let demand = &mut bulk.jobs[place].1;
        let Some(spec) = demand.array() else { return };
        for gate in demand.rare.iter_mut().flat_map(|rare| &mut rare.gates) {
            if let Some((told, verdict)) = decide(gate) {
                gate.tell(spec, told, verdict);
            }
        }
    }

    /// Makes gates of the dependencies of an array that are met task by task; of all, if one of them is enough. `of_bulk` finds
    /// jobs that are not visible yet.
    pub(crate) fn gates_of<'a>(
        &self,
        demand: &mut Demand,
        ended: &PastEnd,
        of_bulk: impl Fn(JobId) -> Option<&'a Demand>,
    ) -> Result<(), Refusal> {
        let Some(spec) = demand.array() else { return Ok(()) };
        let mut rare = demand.rare.take().unwrap_or_default();
        let is_each = |need: &Need| matches!(need.on, DependsOn::Each(_));
        if rare.needs.iter().any(is_each) {
            let any = rare.any;
            let (gates, needs) = rare.needs.drain(..).partition(|need| any || is_each(need));
            rare.needs = needs;
            for need in gates {
                let gate = self.gate_of(spec, need, ended, &of_bulk)?;
                rare.gates.push(gate);
            }
        }
        demand.rare = boxed(*rare);
        Ok(())
    }

    fn gate_of<'a>(
        &self,
        spec: ArraySpec,
        need: Need,
        ended: &PastEnd,
        of_bulk: &impl Fn(JobId) -> Option<&'a Demand>,
    ) -> Result<Gate, Refusal> {
        let all = Ranges::full(spec.count());
        let mut gate = Gate { on: need.on, when: need.when, open: all, never: Ranges::default() };
        let job = match need.on {
            DependsOn::One(on) => {
                let verdict = match of_bulk(on.job) {
                    Some(_) => Verdict::Open,
                    None => self.judge(on, need.when, ended)?,
                };
                gate.tell(spec, Told::All, verdict);
                return Ok(gate);
            }
            DependsOn::Each(job) => job,
        };
        let others = match (of_bulk(job), self.jobs.get(&job)) {
            (Some(demand), _) => Some(demand.array()),
            (None, Some(job)) => Some(job.tasks.as_ref().map(|tasks| tasks.spec)),
            (None, None) => None,
        };
        match others {
            Some(None) => return Err(Refusal::NoTasks(job)),
            Some(Some(others)) => {
                let indices = || (0..spec.count()).map(|ordinal| spec.first + ordinal * spec.step);
                if let Some(index) = indices().find(|index| !others.contains(*index)) {
                    return Err(Refusal::NoSuchJob(JobRef::task(job, index)));
                }
                let is_new = self.jobs.get(&job).and_then(|job| job.tasks.as_ref()).is_none_or(|tasks| tasks.is_new());
                if is_new {
                    return Ok(gate);
                }
            }
            None if !ended.contains_key(&job.into()) => return Err(Refusal::NoSuchJob(job.into())),
            None => {}
        }
        for ordinal in 0..spec.count() {
            let index = spec.first + ordinal * spec.step;
            let on = JobRef::task(job, index);
            let verdict = match self.jobs.contains_key(&job) {
                true => self.judge(on, need.when, ended)?,
                // A task that is nowhere was ended with its array, before it started.
                false => {
                    let (state, started) = ended.get(&on).copied().unwrap_or((JobState::Cancelled, false));
                    match (verdict(need.when, Happened::Started), started) {
                        (Verdict::Met, true) => Verdict::Met,
                        _ => verdict(need.when, Happened::Ended(state)),
                    }
                }
            };
            gate.tell(spec, Told::Index(index), verdict);
        }
        Ok(gate)
    }
}

impl Deciding<'_> {
    /// The end of tasks whose dependencies can never be met.
    pub(crate) fn end_barred(&mut self) {
        while let Some(id) = self.core.barred.first().copied() {
            let Some(tasks) = self.core.jobs.get(&id).and_then(|job| job.tasks.as_ref()) else { return };
            let on = tasks.gates.iter().find(|gate| !gate.never.is_empty()).map_or(id, |gate| gate.on.job());
            let tasks = tasks.barred.clone();
            self.emit(Event::ArrayBarred { job: id.into(), on, tasks: tasks.into() });
            self.end_array(id);
        }
    }
}
