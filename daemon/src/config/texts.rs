//! How values of settings are written as text, and read from it.
//! It refuses to know which setting has which.

use super::Bound;
use qrm_core::{MAX_RANK_WEIGHT, Weights};
use qrm_protocol::amount::Bytes;
use qrm_protocol::error::nearest;
use qrm_protocol::queue::MAX_WEIGHT;
use qrm_protocol::time::Millis;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What stands for everything that there is.
pub(super) const ALL: &str = "all";
/// What stands for nothing at all.
pub(super) const NONE: &str = "none";

/// What stands for what suits the machine.
pub(super) const AUTO: &str = "auto";

pub(super) fn text<T>(value: Result<T, impl Display>) -> Result<T, String> {
    value.map_err(|e| e.to_string())
}

/// Nothing, if that is what is said, or a value.
pub(super) fn optional<T>(
    nothing: &str,
    word: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    if word == nothing { Ok(None) } else { parse(word).map(Some) }
}

pub(super) fn shown<T>(nothing: &str, value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| nothing.to_owned(), show)
}

/// `auto`, `none`, or a value.
pub(super) fn bound<T>(word: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Bound<T>, String> {
    match word {
        AUTO => Ok(Bound::Auto),
        word => Ok(optional(NONE, word, parse)?.map_or(Bound::None, Bound::Most)),
    }
}

pub(super) fn text_of_bound(bound: Bound<impl Display>) -> String {
    match bound {
        Bound::Auto => AUTO.to_owned(),
        Bound::None => NONE.to_owned(),
        Bound::Most(most) => most.to_string(),
    }
}

/// In the largest unit that has no rest.
pub(super) fn duration(Millis(ms): Millis) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let fits = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    fits.map_or_else(|| format!("{ms}ms"), |(unit, word)| format!("{}{word}", ms / unit))
}

/// A duration between two.
pub(super) fn span(word: &str, (least, most): (Millis, Millis)) -> Result<Millis, String> {
    let time: Millis = text(word.parse())?;
    match (least..=most).contains(&time) {
        true => Ok(time),
        false => Err(format!("'{word}' is not from {} to {}", duration(least), duration(most))),
    }
}

/// A number of these bounds, of what.
pub(super) fn number<T>(word: &str, bounds: RangeInclusive<T>, what: &str) -> Result<T, String>
where
    T: FromStr + PartialOrd + Display,
{
    let bad = || format!("'{word}' is not a number{what} from {} to {}", bounds.start(), bounds.end());
    word.parse().ok().filter(|number| bounds.contains(number)).ok_or_else(bad)
}

/// With as few characters as say all of it.
pub(super) fn size(bytes: Bytes) -> String {
    let short = bytes.to_string();
    if short.parse() == Ok(bytes) { short } else { bytes.0.to_string() }
}

/// What is not empty between commas.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Whether the account databases do not allow it as a name.
fn is_no_name(name: &str) -> bool {
    name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == ':')
}

/// Names and @groups.
pub(super) fn names(text: &str) -> Result<Vec<String>, String> {
    let bad = |name: &&str| is_no_name(name.trim_start_matches('@'));
    match parts(text).find(bad) {
        Some(bad) => Err(format!("'{bad}' is neither the name of a user nor @ and that of a group")),
        None => Ok(parts(text).map(str::to_owned).collect()),
    }
}

/// Users with their weights: `alice=2,bob=1`.
pub(super) fn shares(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let mut shares = BTreeMap::new();
    for part in parts(text) {
        let (name, weight) = part.split_once('=').ok_or_else(|| format!("'{part}' has no weight; write {part}=2"))?;
        let (name, weight) = (name.trim(), weight.trim());
        if name.starts_with('@') {
            return Err(format!("'{name}' is a group, and only users have a share"));
        }
        if is_no_name(name) {
            return Err(format!("'{name}' is not the name of a user"));
        }
        let weight = number(weight, 1..=MAX_WEIGHT, "").map_err(|error| format!("{name}: {error}"))?;
        if shares.insert(name.to_owned(), weight).is_some() {
            return Err(format!("'{name}' is named twice"));
        }
    }
    Ok(shares)
}

pub(super) fn text_of_shares(shares: &BTreeMap<String, u32>) -> String {
    let texts: Vec<String> = shares.iter().map(|(name, weight)| format!("{name}={weight}")).collect();
    texts.join(",")
}

/// What a rank is made of: `priority=10,age_per_hour=10,fair_share=1000`; what is absent is as it is built in.
pub(super) fn weights(text: &str) -> Result<Weights, String> {
    let mut weights = Weights::default();
    let mut named = Vec::new();
    for part in parts(text) {
        let name = part.split_once('=').map_or(part, |(name, _)| name).trim();
        let of = match name {
            "priority" => &mut weights.priority,
            "age_per_hour" => &mut weights.age_per_hour,
            "fair_share" => &mut weights.fair_share,
            _ => {
                let all = ["priority", "age_per_hour", "fair_share"];
                let near = nearest(name, all).map(|near| format!("did you mean {near}?"));
                let all = || "weights are priority, age_per_hour and fair_share".to_owned();
                return Err(format!("there is no weight '{name}'; {}", near.unwrap_or_else(all)));
            }
        };
        let (_, value) = part.split_once('=').ok_or_else(|| format!("'{name}' has no number; write {name}=10"))?;
        *of = number(value.trim(), 0..=MAX_RANK_WEIGHT, "").map_err(|error| format!("{name}: {error}"))?;
        if named.contains(&name) {
            return Err(format!("'{name}' is named twice"));
        }
        named.push(name);
    }
    Ok(weights)
}

pub(super) fn text_of_weights(weights: Weights) -> String {
    let Weights { priority, age_per_hour, fair_share } = weights;
    format!("priority={priority},age_per_hour={age_per_hour},fair_share={fair_share}")
}

/// A part of the time, in thousandths: `20%` or `12.5%`.
pub(super) fn permille(word: &str) -> Result<u32, String> {
    let bad = || format!("'{word}' is neither a part of the time from 0.1% to 100%, as 20%, nor none");
    let number = word.strip_suffix('%').ok_or_else(bad)?.trim();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let tenth = tenth.parse::<u32>().ok().filter(|tenth| *tenth < 10).ok_or_else(bad)?;
    let whole = whole.parse::<u32>().ok().filter(|whole| *whole <= 100).ok_or_else(bad)?;
    Some(whole * 10 + tenth).filter(|part| (1..=1_000).contains(part)).ok_or_else(bad)
}

pub(super) fn percent(permille: u32) -> String {
    match (permille / 10, permille % 10) {
        (whole, 0) => format!("{whole}%"),
        (whole, tenth) => format!("{whole}.{tenth}%"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_share_weight_or_part_is_refused_by_what_is_wrong_with_it() {
        assert_eq!(text_of_shares(&shares(" bob=3, alice=2,").unwrap()), "alice=2,bob=3");
        for (text, says) in [
            ("alice", "'alice' has no weight; write alice=2"),
            ("alice=0", "alice: '0' is not a number from 1 to 1000"),
            ("alice=1001", "'1001' is not a number from 1 to 1000"),
            ("@lab=2", "'@lab' is a group"),
            ("=2", "'' is not the name of a user"),
            ("a=1,a=2", "'a' is named twice"),
        ] {
            assert!(shares(text).unwrap_err().contains(says), "{text}");
        }
        assert_eq!(weights("age_per_hour = 0").unwrap(), Weights { age_per_hour: 0, ..Weights::default() });
        for (text, says) in [
            ("prioritty=1", "there is no weight 'prioritty'; did you mean priority?"),
            ("x=1", "there is no weight 'x'; weights are priority, age_per_hour and fair_share"),
            ("3", "there is no weight '3'; weights are"),
            ("priority", "'priority' has no number; write priority=10"),
            ("priority=10001", "priority: '10001' is not a number from 0 to 10000"),
            ("priority=1,priority=2", "named twice"),
        ] {
            assert!(weights(text).unwrap_err().contains(says), "{text}");
        }
        for (text, part) in [("20%", 200), ("12.5%", 125), ("0.1%", 1), ("100%", 1_000)] {
            assert_eq!(permille(text).unwrap(), part);
            assert_eq!(percent(part), text);
        }
        for text in ["", "20", "%", "0%", "100.1%", "101%", "1.25%", "-1%", "1.%", "x%", "4294967295%"] {
            assert!(permille(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_word_that_stands_for_none_or_for_what_suits_the_machine_is_no_value() {
        for (text, part) in [("none", None), ("20%", Some(200))] {
            assert_eq!(optional(NONE, text, permille), Ok(part));
            assert_eq!(shown(NONE, part, percent), text);
        }
        assert!(optional(NONE, ALL, permille).is_err());
        let seven = |word: &str| number(word, 7..=7, "");
        for (text, is) in [("auto", Bound::Auto), ("none", Bound::None), ("7", Bound::Most(7))] {
            assert_eq!(bound(text, seven), Ok(is));
            assert_eq!(text_of_bound(is), text);
        }
        assert!(bound("8", seven).is_err());
    }

    #[test]
    fn a_size_is_said_whole() {
        for (bytes, text) in [(8 << 30, "8G"), (3 << 29, "1.5G"), (1_000_000_001, "1000000001")] {
            assert_eq!(size(Bytes(bytes)), text);
        }
    }
}
