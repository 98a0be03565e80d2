//! Who may do what to whose: the one place that decides it, for the core and for everything that answers a caller.
//! It refuses to know who somebody is; the socket says that, and the configuration what they are.

use crate::refusal::Refusal;
use qrm_protocol::ids::{JobRef, Uid};

/// What the configuration makes of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Controls what is their own.
    User,
    /// And sees the words of others' jobs, whatever the privacy.
    Viewer,
    /// And controls everything.
    Admin,
}

/// Who wants something, as the socket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user.
    pub uid: Uid,
    /// What that user is here.
    pub role: Role,
    /// How many live jobs the user may have.
    pub most_jobs: u64,
}

/// What is wanted of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// To change or end it.
    Control,
    /// To see what it was given and what it wrote: environment, output, files. No role opens these.
    Inside,
    /// To run its command once more, with all that it was given.
    Repeat,
}

impl Caller {
    /// Without a role and without a bound.
    #[must_use]
    pub fn user(uid: Uid) -> Self {
        Self { uid, role: Role::User, most_jobs: u64::MAX }
    }

    /// Whether it sees the words of a job: its name, command, directory and messages.
    #[must_use]
    pub fn sees_words(self, owner: Uid, open: bool) -> bool {
        open || self.uid == owner || self.role >= Role::Viewer
    }

    /// Whether it has this right to a job of this owner.
    #[must_use]
    pub fn has(self, right: Right, owner: Uid) -> bool {
        match right {
            Right::Control => self.uid == owner || self.role == Role::Admin,
            // To root nothing on the machine is closed.
            Right::Inside => self.uid == owner || self.uid == 0,
            Right::Repeat => self.uid == owner,
        }
    }

    /// That it has this right to this job of this owner.
    ///
    /// # Errors
    /// It has not.
    pub fn check(self, right: Right, owner: Uid, job: JobRef) -> Result<(), Refusal> {
        match (self.has(right, owner), right) {
            (true, _) => Ok(()),
            (false, Right::Control) => Err(Refusal::NotYours(job)),
            (false, Right::Inside) => Err(Refusal::NotInside(job)),
            (false, Right::Repeat) => Err(Refusal::NotToRepeat(job)),
        }
    }

    /// That its role is enough for what concerns everybody, a call of this name.
    ///
    /// # Errors
    /// It is not.
    pub fn check_role(self, least: Role, call: &str) -> Result<(), Refusal> {
        if self.role >= least { Ok(()) } else { Err(Refusal::NotThatRole(call.to_owned())) }
    }
}
