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
    let (shares, unknown) = known(config);
    if !unknown.is_empty() {
        tracing::warn!(users = unknown.join(", "), "users.shares names users whom nobody knows");
    }
    (config.policy(shares), config.queues())
}

/// The weights of those who are known, and who is not. A number is one that nobody has as a name.
#[must_use]
pub fn known(config: &Config) -> (BTreeMap<Uid, u32>, Vec<String>) {
    let mut shares = BTreeMap::new();
    let mut unknown = Vec::new();
    for (name, weight) in &config.shares {
        let uid = match User::from_name(name) {
            Ok(user) => user.map(|user| user.uid.as_raw()).or_else(|| name.parse().ok()),
            Err(error) => {
                tracing::warn!(user = name, %error, "a user can not be looked up");
                None
            }
        };
        match uid {
            Some(uid) => drop(shares.insert(uid, *weight)),
            None => unknown.push(name.clone()),
        }
    }
    (shares, unknown)
}

/// What `qrm doctor` says of names that nobody has; nothing if there are none.
#[must_use]
pub fn finding(config: &Config) -> Option<Finding> {
    let (_, unknown) = known(config);
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
        let (known, unknown) = known(&config);
        assert_eq!(known, BTreeMap::from([(0, 3), (4_294_967_294, 2)]));
        assert_eq!(unknown, ["no-such-user"]);
        assert_eq!(configured(&config).0.shares, known);
        assert!(finding(&config).unwrap().found.contains("names no-such-user,"));
        assert_eq!(finding(&Config::default()), None);
    }
}
