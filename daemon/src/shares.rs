//! The weights of users: who the names in the configuration are.
//! It refuses to take a name that nobody has for an error: names can come over a network that is not up yet.

use crate::config::Config;
use crate::engine::Configured;
use nix::unistd::User;
use qrm_protocol::ids::Uid;
use qrm_protocol::method::{Finding, Health};
use std::collections::BTreeMap;

/// What the configuration says of deciding, with its users as they are known now. It may wait for a network.
#[must_use]
pub fn configured(config: &Config) -> Configured {
    configured_by(config, known(config))
}

/// The same when users are looked up again; nothing if somebody can not be just now: what was known before stays.
#[must_use]
pub fn looked_up_again(config: &Config) -> Option<Configured> {
    let known = known(config);
    known.failed.is_empty().then(|| configured_by(config, known))
}

fn configured_by(config: &Config, known: Known) -> Configured {
    let Known { shares, mut unknown, failed } = known;
    unknown.extend(failed);
    if !unknown.is_empty() {
        tracing::warn!(users = unknown.join(", "), "users.shares names users whom nobody knows");
    }
    (config.policy(shares), config.queues())
}

/// What is known of users who are named.
#[derive(Debug, Default)]
struct Known {
    shares: BTreeMap<Uid, u32>,
    /// Nobody has such a name.
    unknown: Vec<String>,
    /// Whether anybody has could not be found out.
    failed: Vec<String>,
}

/// The weights of those who are known, and who is not. A number is one that nobody has as a name.
fn known(config: &Config) -> Known {
    let mut known = Known::default();
    for (name, weight) in &config.shares {
        let number = name.parse().ok();
        match User::from_name(name).map(|user| user.map(|user| user.uid.as_raw()).or(number)) {
            Ok(Some(uid)) => drop(known.shares.insert(uid, *weight)),
            Ok(None) => known.unknown.push(name.clone()),
            Err(error) => {
                tracing::warn!(user = name, %error, "a user can not be looked up");
                known.failed.push(name.clone());
            }
        }
    }
    known
}

/// What `qrm doctor` says of names that nobody has; nothing if there are none.
#[must_use]
pub fn finding(config: &Config) -> Option<Finding> {
    let Known { mut unknown, failed, .. } = known(config);
    unknown.extend(failed);
    (!unknown.is_empty()).then(|| Finding {
        topic: "shares".to_owned(),
        health: Health::Limited,
        found: format!("users.shares names {}, whom this machine does not know", unknown.join(", ")),
        means: "whoever they are, they weigh 1 as everybody does who is not named".to_owned(),
        mend: Some("names as getent passwd has them; qrm daemon reload looks them up again".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_weigh_by_their_number_and_who_is_unknown_is_named() {
        let shares = [("root", 3), ("4294967294", 2), ("no-such-user", 5)];
        let mut config = Config::default();
        config.shares = shares.map(|(name, weight)| (name.to_owned(), weight)).into();
        let Known { shares, unknown, failed } = known(&config);
        assert_eq!(shares, BTreeMap::from([(0, 3), (4_294_967_294, 2)]));
        assert_eq!((unknown, failed), (vec!["no-such-user".to_owned()], vec![]));
        assert_eq!(configured(&config).0.shares, shares);
        assert_eq!(looked_up_again(&config), Some(configured(&config)));
        assert!(finding(&config).unwrap().found.contains("names no-such-user,"));
        assert_eq!(finding(&Config::default()), None);
    }
}
