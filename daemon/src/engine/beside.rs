//! What the engine sees of the machine beside jobs, and of its configuration, before it decides.
//! It refuses to know the files that tell.

use super::Engine;
use crate::clock;
use crate::monitor::{Bounds, Sampled};
use qrm_core::{Input, Now, Observed};

impl Engine {
    /// Has the next decision, or look, see the machine as it is now, or was some milliseconds ago.
    pub(super) fn look_beside(&mut self, now: Now) {
        if self.beside.is_old() {
            self.beside.look(self.core.granted_memory());
            self.core.see(now, self.beside.host());
        }
    }

    /// What was measured of the memory: something may start by that.
    pub(super) fn sampled(&mut self, sampled: Sampled) {
        self.beside.sampled(sampled, self.core.granted_memory());
        self.look_again();
    }

    /// By what it is judged from now on.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.beside.set(bounds);
        self.look_again();
    }

    /// Looks, and decides once more if there is something else to see than at the last decision.
    fn look_again(&mut self) {
        self.beside.look(self.core.granted_memory());
        let host = self.beside.host();
        self.core.see(clock::now(), host);
        if host != self.decided_by && self.degraded.is_none() {
            self.batch.urgent = true;
            self.step(Input::Observed(Observed::Host(host)), &[])
                .unwrap_or_else(|error| tracing::error!(error = error.message, "a look at the machine"));
        }
    }

    /// Has the core know what is configured. While nothing can be written that waits.
    pub(super) fn configure(&mut self) {
        if self.degraded.is_some() {
            return;
        }
        let (policy, queues) = self.configured.clone();
        self.batch.urgent = true;
        self.step(Input::Observed(Observed::Configured(policy, queues)), &[])
            .unwrap_or_else(|error| tracing::error!(error = error.message, "the configuration"));
    }

    /// The monitor goes on looking while something waits for the machine beside jobs.
    pub(super) fn mind(&mut self) {
        let minds = self.core.minds_host();
        if minds != std::mem::replace(&mut self.minds, minds) {
            self.monitor.minds(minds);
        }
    }
}
