//! The values that Slurm's options take: times, arrays, dependencies, sizes, as sbatch(1) describes them.
//! It refuses to know in which option they stood.

use crate::commands::submit::bulk::After;
use jiff::civil::{Date, Time};
use jiff::{ToSpan, Zoned};
use qrm_protocol::amount::Bytes;
use qrm_protocol::ids::{JobRef, MAX_TASKS};
use qrm_protocol::job::{ArraySpec, DependsOn};
use qrm_protocol::signal::Signal;
use qrm_protocol::time::{Millis, Timestamp};

/// Digits and nothing else.
fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

/// A time limit: `MIN`, `MIN:SEC`, `HOUR:MIN:SEC`, `DAYS-HOUR[:MIN[:SEC]]`; `None` is no limit.
pub(super) fn limit(text: &str) -> Result<Option<Millis>, String> {
    let bad = || format!("'{text}' is not a time limit; write minutes, MM:SS, HH:MM:SS or DAYS-HH:MM:SS");
    if ["UNLIMITED", "INFINITE"].iter().any(|word| text.eq_ignore_ascii_case(word)) {
        return Ok(None);
    }
    let (days, rest) = text.split_once('-').map_or((None, text), |(days, rest)| (Some(days), rest));
    let parts: Vec<u64> = rest.split(':').map(number).collect::<Option<_>>().ok_or_else(bad)?;
    let (hours, minutes, seconds) = match (days.is_some(), parts.as_slice()) {
        (true, [hours]) => (*hours, 0, 0),
        (true, [hours, minutes]) => (*hours, *minutes, 0),
        (false, [minutes]) => (0, *minutes, 0),
        (false, [minutes, seconds]) => (0, *minutes, *seconds),
        (_, [hours, minutes, seconds]) => (*hours, *minutes, *seconds),
        _ => return Err(bad()),
    };
    let days = days.map_or(Some(0), number).ok_or_else(bad)?;
    let sum = [(days, 86_400), (hours, 3_600), (minutes, 60), (seconds, 1)]
        .into_iter()
        .try_fold(0u64, |sum, (n, unit)| sum.checked_add(n.checked_mul(unit)?));
    let limit = sum.and_then(|s| s.checked_mul(1_000)).map(Millis).filter(|d| *d <= qrm_protocol::time::MAX_DURATION);
    Ok(Some(limit.ok_or_else(bad)?).filter(|limit| limit.0 > 0))
}

/// A list of indices, ranges and steps, `0-15:4,20%2`, if it is one range.
pub(super) fn array(text: &str) -> Result<ArraySpec, String> {
    if let Ok(array) = text.parse() {
        return Ok(array);
    }
    let (list, width) = text.split_once('%').map_or((text, None), |(list, width)| (list, Some(width)));
    let (mut indices, mut work) = (std::collections::BTreeSet::new(), 0u64);
    for part in list.split(',') {
        let range: ArraySpec = part.parse().map_err(|e| format!("{e}"))?;
        work += u64::from(range.count());
        if part.contains('%') || work > 2 * u64::from(MAX_TASKS) {
            return Err(format!("'{text}' is not an array"));
        }
        indices.extend((range.first..=range.last).step_by(range.step as usize));
    }
    let all: Vec<u32> = indices.into_iter().collect();
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Err(format!("'{text}' is not an array")) };
    let step = all.get(1).map_or(1, |second| second - first);
    if all.windows(2).any(|two| two[1] - two[0] != step) {
        return Err(format!("the indices of '{text}' are not one range with a step, and an array here is"));
    }
    let width = width.map(|width| format!("%{width}")).unwrap_or_default();
    format!("{first}-{last}:{step}{width}").parse().map_err(|_| format!("'{text}' is not an array"))
}

/// What a job waits for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dependencies {
    /// Ids by what is waited for.
    pub(super) on: Vec<(After, DependsOn)>,
    /// One is enough.
    pub(super) any: bool,
    /// What of it can not be meant here.
    pub(super) left_out: Vec<String>,
}

/// `afterok:1:2,afterany:3_4`; all of them, or one if they are separated by `?`.
pub(super) fn dependencies(text: &str) -> Result<Dependencies, String> {
    let bad = |part: &str| format!("'{part}' is not a dependency; write afterok:12, afterany:12:13 or after:12");
    let mut found = Dependencies { any: text.contains('?'), ..Dependencies::default() };
    if found.any && text.contains(',') {
        return Err(format!("'{text}' has both ',' and '?'"));
    }
    for part in text.split([',', '?']) {
        let (word, ids) = part.split_once(':').unwrap_or((part, ""));
        let word = word.to_ascii_lowercase();
        let kind = match word.as_str() {
            "after" => After::Start,
            "afterany" => After::End,
            "afterok" | "aftercorr" => After::Ok,
            "afternotok" => After::Fail,
            "singleton" => {
                found.left_out.push("singleton is left out: names keep no job apart".to_owned());
                continue;
            }
            "afterburstbuffer" | "expand" => {
                found.left_out.push(format!("{word} is left out: there is none here"));
                continue;
            }
            _ => return Err(bad(part)),
        };
        for id in ids.split(':') {
            let (id, delay) = id.split_once('+').map_or((id, None), |(id, delay)| (id, Some(delay)));
            if let Some(delay) = delay {
                number(delay).ok_or_else(|| bad(part))?;
                found.left_out.push(format!("+{delay} is left out: it may run once {id} has started"));
            }
            let id = id.strip_suffix("_*").unwrap_or(id).replacen('_', ".", 1);
            let on: JobRef = id.parse().map_err(|_| bad(part))?;
            let each = word == "aftercorr" && on.task.is_none();
            found.on.push((kind, if each { DependsOn::Each(on.job) } else { on.into() }));
        }
    }
    Ok(found)
}

/// Memory: a number of megabytes, or one with K, M, G or T.
pub(super) fn memory(text: &str) -> Result<Bytes, String> {
    let bad = || format!("'{text}' is not a size; write 4000 for megabytes, or 4G");
    let (digits, unit) = match text.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(digits) => (digits, &text[digits.len()..]),
        None => (text, "M"),
    };
    number(digits).filter(|_| "KMGTkmgt".contains(unit)).ok_or_else(bad)?;
    format!("{digits}{unit}").parse().map_err(|_| bad())
}

/// What is sent before a time limit, and how long before.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Early {
    pub(super) signal: Signal,
    pub(super) before: Millis,
}

/// `[R][B:]SIGNAL[@SECONDS]`.
pub(super) fn early_signal(text: &str) -> Result<Early, String> {
    let bad = || format!("'{text}' is not a signal; write USR1@60 or B:USR1@60");
    let (flags, rest) = text.split_once(':').unwrap_or(("", text));
    if !matches!(flags, "" | "B" | "R" | "RB" | "BR") {
        return Err(bad());
    }
    let (signal, seconds) = rest.split_once('@').map_or((rest, Some(60)), |(signal, s)| (signal, number(s)));
    let seconds = seconds.filter(|s| *s <= 65_535).ok_or_else(bad)?;
    Ok(Early { signal: signal.parse().map_err(|_| bad())?, before: Millis(seconds * 1_000) })
}

/// A path in which `%` stands for something, as it is written here, and what of it can not be meant. In an array `%j` is
/// another number for each task there, so here it is that of the job and of the task.
pub(super) fn path(pattern: &str, is_array: bool) -> (String, Vec<String>) {
    let (mut path, mut left_out) = (String::new(), Vec::new());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            path.push(c);
            continue;
        }
        let mut width = String::new();
        while let Some(digit) = chars.next_if(char::is_ascii_digit) {
            width.push(digit);
        }
        match chars.next() {
            Some('%') => path += "%%",
            Some('A') => path += "%j",
            Some('a') => path += "%a",
            Some('j' | 'J') => path += if is_array { "%j_%a" } else { "%j" },
            Some('x') => path += "%n",
            Some('u') => path += "%u",
            // The first node, step and task.
            Some('n' | 's' | 't') => path.push('0'),
            Some('N') => path += &host().replace('%', "%%"),
            Some(other) => {
                path += &format!("%%{width}{other}");
                left_out.push(format!("%{other} stands for nothing here"));
            }
            None => path += "%%",
        }
        if !width.is_empty() && left_out.is_empty() {
            left_out.push("numbers are not padded here".to_owned());
        }
    }
    (path, left_out)
}

/// This machine, without its domain.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim().split('.').next().unwrap_or_default();
    if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
}

/// `16:00`, `now+1hour`, `tomorrow`, `noon`, `2026-01-20T12:34:00`, `01/20/26 4:00 PM`.
pub(super) fn begin(text: &str, now: &Zoned) -> Result<Timestamp, String> {
    instant(text, now)
        .ok_or_else(|| format!("'{text}' is not a time; write 16:00, now+1hour, tomorrow or 2026-01-20T12:34:00"))
}

fn instant(text: &str, now: &Zoned) -> Option<Timestamp> {
    let lower = text.trim().to_ascii_lowercase();
    if let Some(rest) = lower.strip_prefix("now") {
        return Some(Timestamp(now.timestamp().as_millisecond()).plus(later(rest.trim())?));
    }
    let (mut day, mut clock) = (None, None);
    // The T of `2026-01-20T12:34:00`, but not of `tomorrow`.
    let split = lower.replacen("t", if lower.starts_with(|c: char| c.is_ascii_digit()) { " " } else { "t" }, 1);
    let words = split.replace("am", " am").replace("pm", " pm");
    let mut words = words.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if let Some(read) = day_of(word, now).filter(|_| day.is_none()) {
            day = Some(read);
        } else {
            let half = words.next_if(|next| matches!(*next, "am" | "pm"));
            clock = Some(clock_of(word, half).filter(|_| clock.is_none())?);
        }
    }
    let (day, clock) = match (day, clock) {
        (None, None) => return None,
        (Some(day), clock) => (day, clock.unwrap_or(Time::midnight())),
        (None, Some(clock)) if clock > now.time() => (now.date(), clock),
        (None, Some(clock)) => (now.date().tomorrow().ok()?, clock),
    };
    let at = day.to_datetime(clock).to_zoned(now.time_zone().clone()).ok()?;
    Some(Timestamp(at.timestamp().as_millisecond()))
}

/// What follows `now`: nothing, or `+COUNT[UNIT]`.
fn later(text: &str) -> Option<Millis> {
    if text.is_empty() {
        return Some(Millis(0));
    }
    let text = text.strip_prefix('+')?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "second" | "seconds" => 1,
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        "week" | "weeks" => 7 * 86_400,
        _ => return None,
    };
    let span = number(&text[..digits])?.checked_mul(unit)?.checked_mul(1_000).map(Millis)?;
    (span <= qrm_protocol::time::MAX_DURATION).then_some(span)
}

fn day_of(word: &str, now: &Zoned) -> Option<Date> {
    let today = now.date();
    match word {
        "today" => return Some(today),
        "tomorrow" => return today.tomorrow().ok(),
        _ => {}
    }
    if word.len() == 10 && word.as_bytes()[4] == b'-' {
        return word.parse().ok();
    }
    let small = |text: &str| number(text).and_then(|n| i8::try_from(n).ok());
    let parts: Vec<&str> = if word.len() == 6 && number(word).is_some() {
        vec![&word[..2], &word[2..4], &word[4..]]
    } else {
        word.split(['/', '.']).collect()
    };
    match parts.as_slice() {
        [month, day] => {
            let this_year = Date::new(today.year(), small(month)?, small(day)?).ok()?;
            if this_year >= today { Some(this_year) } else { this_year.checked_add(1.year()).ok() }
        }
        [month, day, year] if year.len() == 2 => {
            Date::new(2_000 + i16::from(small(year)?), small(month)?, small(day)?).ok()
        }
        _ => None,
    }
}

fn clock_of(word: &str, half: Option<&str>) -> Option<Time> {
    let named = match word {
        "midnight" => Some(0),
        "elevenses" => Some(11),
        "noon" => Some(12),
        "fika" => Some(15),
        "teatime" => Some(16),
        _ => None,
    };
    if let Some(hour) = named {
        return Time::new(hour, 0, 0, 0).ok().filter(|_| half.is_none());
    }
    let parts: Vec<i8> =
        word.split(':').map(|part| number(part).and_then(|n| i8::try_from(n).ok())).collect::<Option<_>>()?;
    let (hour, minute, second) = match parts.as_slice() {
        [hour, minute] => (*hour, *minute, 0),
        [hour, minute, second] => (*hour, *minute, *second),
        [hour] if half.is_some() => (*hour, 0, 0),
        _ => return None,
    };
    let hour = match half {
        None => hour,
        Some(_) if !(1..=12).contains(&hour) => return None,
        Some("pm") => hour % 12 + 12,
        Some(_) => hour % 12,
    };
    Time::new(hour, minute, second, 0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn now() -> Zoned {
        "2026-03-28T12:00:00[Europe/Prague]".parse().unwrap()
    }

    #[test]
    fn limits_are_read_as_slurm_reads_them() {
        for (text, seconds) in [
            ("90", Some(5_400)),
            ("0", None),
            ("00:00:00", None),
            ("UNLIMITED", None),
            ("90:30", Some(5_430)),
            ("2:00:00", Some(7_200)),
            ("1-0", Some(86_400)),
            ("1-12", Some(129_600)),
            ("1-12:30", Some(131_400)),
            ("2-01:02:03", Some(176_523)),
            ("0:0:1", Some(1)),
        ] {
            assert_eq!(limit(text).unwrap(), seconds.map(|s: u64| Millis(s * 1_000)), "{text}");
        }
        for text in ["", "x", "1h", "-1", "1-", "-", "1:2:3:4", "1-1:2:3:4", "1::2", "99999999999999999999", "37000-0"]
        {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_list_of_indices_is_an_array_if_it_is_one_range() {
        for (text, array_text) in [
            ("0-15", "0-15"),
            ("1-7:2", "1-7:2"),
            ("0-15%4", "0-15%4"),
            ("5", "5-5"),
            ("1,3,5,7%2", "1-7:2%2"),
            ("3,1,2,2", "1-3"),
            ("0-3,4-7", "0-7"),
            ("0,6,12-30:6", "0-30:6"),
        ] {
            assert_eq!(array(text).unwrap().to_string(), array_text, "{text}");
        }
        for text in ["", "1,3,7", "0,6,16-32", "1,", "a", "1-0", "0-9%0", "1,2%x", "1%2,3", "0-1000000", "-1"] {
            assert!(array(text).is_err(), "{text}");
        }
    }

    #[test]
    fn dependencies_keep_what_they_wait_for() {
        for (text, on, any, left_out) in [
            ("afterok:12", "Ok 12", false, 0),
            ("afterok:1:2,afterany:3_4", "Ok 1, Ok 2, End 3.4", false, 0),
            ("afternotok:5?after:6_*", "Fail 5, Start 6", true, 0),
            ("after:7+10", "Start 7", false, 1),
            ("singleton", "", false, 1),
            ("aftercorr:9,afterburstbuffer:1", "Ok 9.*", false, 1),
            ("aftercorr:9_2:10_*", "Ok 9.2, Ok 10.*", false, 0),
        ] {
            let read = dependencies(text).unwrap();
            let shown: Vec<String> = read.on.iter().map(|(kind, id)| format!("{kind:?} {id}")).collect();
            assert_eq!((shown.join(", ").as_str(), read.any, read.left_out.len()), (on, any, left_out), "{text}");
        }
        for text in ["", "afterok", "afterok:", "afterok:x", "before:1", "afterok:1,after:2?after:3", "after:1+x", "12"]
        {
            assert!(dependencies(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_without_a_unit_are_megabytes() {
        for (text, bytes) in [("4000", 4_000 << 20), ("4G", 4 << 30), ("512k", 512 << 10), ("1T", 1 << 40), ("0", 0)] {
            assert_eq!(memory(text).unwrap(), Bytes(bytes), "{text}");
        }
        for text in ["", "G", "1.5G", "4GB", "4P", "-1", "4 G", "99999999999999999999"] {
            assert!(memory(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_signal_comes_a_minute_before_the_end_unless_it_says_when() {
        for (text, name, seconds) in
            [("USR1", "USR1", 60), ("B:USR1@120", "USR1", 120), ("10@0", "USR1", 0), ("RB:SIGINT@5", "INT", 5)]
        {
            let early = Early { signal: name.parse().unwrap(), before: Millis(seconds * 1_000) };
            assert_eq!(early_signal(text).unwrap(), early, "{text}");
        }
        for text in ["", "X:USR1", "USR1@", "USR1@x", "USR1@70000", "NOPE", "B:", "@60"] {
            assert!(early_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn paths_stand_for_the_same_things() {
        for (pattern, is_array, expected, left_out) in [
            ("out.txt", false, "out.txt", 0),
            ("slurm-%j.out", false, "slurm-%j.out", 0),
            ("slurm-%j.out", true, "slurm-%j_%a.out", 0),
            ("%x/%u-%A_%a-%%.log", true, "%n/%u-%j_%a-%%.log", 0),
            ("%t%s%n", false, "000", 0),
            ("%4j%Q", false, "%j%%Q", 2),
            ("%b%", false, "%%b%%", 1),
        ] {
            let (path, why) = path(pattern, is_array);
            assert_eq!((path.as_str(), why.len()), (expected, left_out), "{pattern}: {why:?}");
        }
        assert!(!path("%N", false).0.contains(['%', '.', '\n']));
    }

    #[test]
    fn begins_are_instants_to_come() {
        for (text, want) in [
            ("now", "2026-03-28T11:00:00.000Z"),
            ("now+1hour", "2026-03-28T12:00:00.000Z"),
            ("now+60", "2026-03-28T11:01:00.000Z"),
            ("now + 2 weeks", "2026-04-11T11:00:00.000Z"),
            ("16:00", "2026-03-28T15:00:00.000Z"),
            ("4:00PM", "2026-03-28T15:00:00.000Z"),
            ("4 pm", "2026-03-28T15:00:00.000Z"),
            ("12:00 am", "2026-03-28T23:00:00.000Z"),
            ("9:30:15", "2026-03-29T07:30:15.000Z"),
            ("noon", "2026-03-29T10:00:00.000Z"),
            ("teatime", "2026-03-28T15:00:00.000Z"),
            ("tomorrow", "2026-03-28T23:00:00.000Z"),
            ("tomorrow 16:00", "2026-03-29T14:00:00.000Z"),
            ("today", "2026-03-27T23:00:00.000Z"),
            ("2026-04-01", "2026-03-31T22:00:00.000Z"),
            ("2026-04-01T07:08", "2026-04-01T05:08:00.000Z"),
            ("040126", "2026-03-31T22:00:00.000Z"),
            ("04/01/27 6:00", "2027-04-01T04:00:00.000Z"),
            ("01/20", "2027-01-19T23:00:00.000Z"),
        ] {
            assert_eq!(begin(text, &now()).unwrap().to_string(), want, "{text}");
        }
        for text in ["", "soon", "now-1", "now+", "now+1x", "25:00", "13:00pm", "2026-13-01", "tomorrow tomorrow", "16"]
        {
            assert!(begin(text, &now()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_value_ends_the_process(text in "\\PC{0,24}|[0-9:\\-,%_+?@TtampmNnow/. ]{0,24}|after(ok|any)?[:0-9_*+?,]{0,16}") {
            let _taken = (limit(&text).is_ok(), array(&text).is_ok(), dependencies(&text).is_ok());
            let _taken = (memory(&text).is_ok(), early_signal(&text).is_ok(), begin(&text, &now()).is_ok());
            let _taken = path(&text, true);
        }
    }
}
