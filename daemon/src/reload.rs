//! Reading the configuration again while jobs run: what can be used at once is, what needs a restart is named.
//! It refuses to change anything if something in it can not be meant.

use crate::config::{self, Config, KEYS, refusal};
use crate::engine::{Configured, Handle};
use crate::rpc::Shared;
use crate::{machine, notify, shares};
use qrm_core::Observed;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::ChangedSetting;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Reads it again and uses it, and says so to a service manager; the settings that are others than before.
///
/// # Errors
/// It can not be read or meant, or the store can not be set; nothing is changed then.
pub async fn reload(shared: &Shared) -> Result<Vec<ChangedSetting>, Error> {
    notify::reloading("reads its configuration again");
    let done = use_anew(shared).await;
    let answers = crate::answers(&shared.socket);
    match &done {
        Ok(_) => notify::ready(&answers),
        Err(error) => notify::ready(&format!("{answers}; the configuration is not reloaded: {}", error.message)),
    }
    done
}

async fn use_anew(shared: &Shared) -> Result<Vec<ChangedSetting>, Error> {
    if let Some(why) = &shared.engine.condition().borrow().degraded {
        // What the machine offers from now on is written down as well.
        return Err(Error::new(Code::Unavailable, format!("the configuration can not be used now: {why}")));
    }
    let sources = shared.sources.clone();
    let read = tokio::task::spawn_blocking(move || sources.load(&|name| std::env::var_os(name)));
    let wanted = read.await.map_err(|e| Error::new(Code::Internal, format!("the configuration: {e}")))?;
    let wanted = wanted.map_err(|mistakes| refusal(&mistakes))?;
    let before = shared.config.borrow().clone();
    let mut changed = Vec::new();
    let mut used = wanted.clone();
    for key in KEYS {
        let (from, to) = ((key.get)(&before), (key.get)(&wanted));
        if !key.at_reload {
            used.keep(key, &before);
        }
        if from != to {
            changed.push(ChangedSetting { key: key.name.to_owned(), from, to, applied: key.at_reload });
        }
    }
    changed.extend(changed_queues(&before, &wanted));
    if used.durability != before.durability {
        shared.engine.set_durability(used.durability).await?;
    }
    let (engine, config) = (shared.engine.clone(), used.clone());
    let (state, boot_id) = (shared.state.clone(), shared.boot_id.clone());
    // It may wait for the disk, for users' names, and for its place in the engine's channel.
    let told = tokio::task::spawn_blocking(move || {
        // First how it is decided, then what may start by that.
        tell_configured(&engine, &config);
        engine.set_bounds(config.bounds());
        engine.observed(Observed::Machine(machine::offered(&config, &state, &boot_id)));
    });
    told.await.map_err(|e| Error::new(Code::Internal, format!("the engine: {e}")))?;
    for change in &changed {
        tracing::info!(key = change.key, from = change.from, to = change.to, applied = change.applied, "reloaded");
    }
    if used.sampled_every != before.sampled_every {
        shared.monitor.set_interval(used.monitor_interval());
    }
    shared.config.send_replace(Arc::new(used));
    Ok(changed)
}

/// Queues that are others than before, or new, or not named any more.
fn changed_queues(before: &Config, wanted: &Config) -> Vec<ChangedSetting> {
    let (was, is) = (before.queues(), wanted.queues());
    let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let changed = names.into_iter().filter(|name| was.get(name) != is.get(name));
    let view = |name| ChangedSetting {
        key: config::queue_key(name),
        from: before.queue(name),
        to: wanted.queue(name),
        applied: true,
    };
    changed.map(view).collect()
}

/// Tells the engine what is configured, with users as they are known now; it may wait for a network.
fn tell_configured(engine: &Handle, config: &Config) {
    tell(engine, shares::configured(config));
}

fn tell(engine: &Handle, (policy, queues): Configured) {
    engine.observed(Observed::Configured(policy, queues));
}

/// Looks users up again whom the configuration names.
pub async fn look_up_users(shared: &Shared) {
    let (engine, config) = (shared.engine.clone(), shared.config.borrow().clone());
    if config.shares.is_empty() {
        return;
    }
    let look = move || {
        if let Some(configured) = shares::looked_up_again(&config) {
            tell(&engine, configured);
        }
    };
    if let Err(error) = tokio::task::spawn_blocking(look).await {
        tracing::error!(%error, "users.shares");
    }
}

impl Config {
    /// Takes one setting as it was.
    fn keep(&mut self, key: &crate::config::Key, before: &Self) {
        if key.copy(before, self).is_err() {
            tracing::error!(key = key.name, "a setting can not be set to what it was");
        }
    }
}
