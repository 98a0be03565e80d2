//! Who may call what where a daemon serves several users: a word for each call, which the daemon keeps to, the manual shows
//! and a test tries. It refuses to know who is who.

use serde::Serialize;

/// Who may make a call, of which jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Everybody; nothing of anybody else's is in it.
    Everyone,
    /// Everybody; of others' jobs all but the words, unless the privacy is open.
    Look,
    /// Of a job, its owner and administrators.
    Control,
    /// Of a job, its owner, and root to whom nothing is closed.
    Inside,
    /// Of a job, its owner: it would run as the caller.
    Repeat,
    /// Viewers and administrators.
    Viewers,
    /// Administrators.
    Admins,
}

impl Access {
    /// For people: what an owner, another user, a viewer who is not the owner and an administrator who is not may do.
    #[must_use]
    pub fn of_each(self) -> [&'static str; 4] {
        match self {
            Self::Everyone => ["yes"; 4],
            Self::Look => ["yes", "privacy", "yes", "yes"],
            Self::Control => ["yes", "no", "no", "yes"],
            Self::Inside | Self::Repeat => ["yes", "no", "no", "no"],
            Self::Viewers => ["no", "no", "yes", "yes"],
            Self::Admins => ["no", "no", "no", "yes"],
        }
    }
}
