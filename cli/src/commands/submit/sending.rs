//! What is said of a bulk on its way, once it takes longer than one notices.
//! It refuses to know what is sent.

use crate::render::Out;
use crate::render::job::now;
use crate::render::progress::{Progress, Said};
use qrm_protocol::time::Timestamp;
use std::time::{Duration, Instant};

/// After so long there is something to say.
const NOTICED: Duration = Duration::from_millis(500);

pub(super) struct Sending<'a> {
    out: &'a Out,
    began: (Instant, Timestamp),
    sent: usize,
    all: usize,
    progress: Option<Progress>,
}

impl<'a> Sending<'a> {
    pub(super) fn new(out: &'a Out, all: usize) -> Self {
        Self { out, began: (Instant::now(), now()), sent: 0, all, progress: None }
    }

    /// So many more are there.
    pub(super) fn sent(&mut self, jobs: usize) {
        self.sent += jobs;
        if self.progress.is_none() && self.began.0.elapsed() >= NOTICED {
            self.progress = Progress::start(self.out);
        }
        if let Some(progress) = &self.progress {
            // Exact far beyond the bound of a bulk.
            #[allow(clippy::cast_precision_loss)]
            let fraction = self.sent as f64 / self.all as f64;
            let what = format!("sent {} of {} jobs", self.sent, self.all);
            progress.say(Said { fraction: Some(fraction), what, since: Some(self.began.1), message: String::new() });
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress {
            progress.clear();
        }
    }
}
