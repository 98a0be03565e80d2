//! Who the callers are: their names, and what the configuration makes of them, looked up where that may block and
//! remembered for a short while. It refuses to decide what they may do; that is the core's.

use super::{Shared, turns};
use crate::config::Config;
use crate::mode::Mode;
use crate::supervise::identity::{group, identity};
use nix::unistd::User;
use qrm_core::{Caller, Role};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::ids::Uid;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long what was looked up is believed.
const BELIEVED: Duration = Duration::from_secs(30);
/// The most users that are remembered.
const KEPT: usize = 4_096;

/// What was looked up of a user.
#[derive(Clone, Debug)]
struct Known {
    since: Instant,
    role: Role,
    /// The settings by which it is that.
    by: Arc<Config>,
}

/// Those that called.
#[derive(Default)]
pub struct Users {
    // Locks, because looking up blocks and runs on other threads; each is held for a look or an entry.
    names: Mutex<BTreeMap<Uid, (Instant, String)>>,
    roles: Mutex<BTreeMap<Uid, Known>>,
}

/// The login name, or the number where there is none.
pub(super) async fn name(shared: &Arc<Shared>, uid: Uid) -> String {
    let known = shared.users.names.lock().ok().and_then(|names| names.get(&uid).cloned());
    // A number may be somebody else's one day.
    if let Some((_, name)) = known.filter(|(since, _)| since.elapsed() < BELIEVED) {
        return name;
    }
    let looked = turns::blocking(move || User::from_uid(uid.into()).ok().flatten()).await;
    // Who is not known yet may be later: names can come over a network that is not up.
    let Some(user) = looked.ok().flatten() else { return uid.to_string() };
    if let Ok(mut names) = shared.users.names.lock() {
        if names.len() >= KEPT {
            names.clear();
        }
        names.insert(uid, (Instant::now(), user.name.clone()));
    }
    user.name
}

/// The caller of this number.
///
/// # Errors
/// The daemon is not for this user, or nobody can say who it is.
pub(super) async fn caller(shared: &Arc<Shared>, uid: Uid) -> Result<Caller, Error> {
    let config = shared.config.borrow().clone();
    if uid == 0 || uid == shared.uid {
        return Ok(Caller { uid, role: Role::Admin, most_jobs: u64::MAX });
    }
    if shared.mode == Mode::User {
        return Err(Error::new(Code::PermissionDenied, "this daemon serves the user who started it"));
    }
    let known = shared.users.roles.lock().ok().and_then(|roles| roles.get(&uid).cloned());
    let known = known.filter(|known| known.since.elapsed() < BELIEVED && Arc::ptr_eq(&known.by, &config));
    let role = match known {
        Some(known) => known.role,
        None => {
            let by = config.clone();
            let looked = turns::blocking(move || role(uid, &by)).await;
            let role = looked.map_err(|error| Error::new(Code::Internal, format!("user {uid}: {error}")))?;
            let role = role.map_err(|why| {
                Error::new(Code::PermissionDenied, why).hint("jobs run as their users, whom getent passwd has to know")
            })?;
            if let Ok(mut roles) = shared.users.roles.lock() {
                if roles.len() >= KEPT {
                    roles.clear();
                }
                roles.insert(uid, Known { since: Instant::now(), role, by: config.clone() });
            }
            role
        }
    };
    Ok(Caller { uid, role, most_jobs: if role == Role::Admin { u64::MAX } else { config.max_jobs } })
}

/// What the configuration makes of a user, by the system's databases.
fn role(uid: Uid, config: &Config) -> Result<Role, String> {
    let identity = identity(uid)?;
    let user = User::from_uid(uid.into()).map_err(|error| format!("user {uid} can not be looked up: {error}"))?;
    let name = user.map_or_else(|| uid.to_string(), |user| user.name);
    let is_among = |names: &[String]| -> Result<bool, String> {
        for one in names {
            let is = match one.strip_prefix('@') {
                None => *one == name,
                Some(of) => group(of)?.is_some_and(|gid| identity.groups.contains(&gid)),
            };
            if is {
                return Ok(true);
            }
        }
        Ok(false)
    };
    Ok(match () {
        () if is_among(&config.admins)? => Role::Admin,
        () if is_among(&config.viewers)? => Role::Viewer,
        () => Role::User,
    })
}
