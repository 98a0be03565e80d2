//! Logs in the Standard Workload Format, version 2.2 (<https://www.cs.huji.ac.il/labs/parallel/workload/swf.html>), line by line.
//! It refuses to know what a log is replayed for: what a job is without some of its fields is decided elsewhere.

use std::io::{BufRead, Read};

/// The fields of a line, by the names that the format gives them.
const FIELDS: [&str; 18] = [
    "job number",
    "submit time",
    "wait time",
    "run time",
    "number of allocated processors",
    "average cpu time used",
    "used memory",
    "requested number of processors",
    "requested time",
    "requested memory",
    "status",
    "user id",
    "group id",
    "executable number",
    "queue number",
    "partition number",
    "preceding job number",
    "think time from preceding job",
];

/// The most lines that are jobs: some minutes of simulation, and 100 MB of memory. The longest logs of the archive have as many.
const MAX_JOBS: usize = 1_000_000;
/// The most lines, comments too, so that a file that never ends is no endless wait.
const MAX_LINES: u64 = 2 * MAX_JOBS as u64;
/// Longer than any comment of the archive; a job has some 100 bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How much of a field is shown to who wrote it.
const MAX_SHOWN: usize = 40;
/// The largest number of any field, so that milliseconds fit.
const MAX_NUMBER: u64 = 1_000_000_000_000_000;
/// The longest time of any field but the submit time, which may be counted from 1970: a hundred years.
const MAX_SECONDS: u64 = 100 * 365 * 24 * 3600;

/// Why a file is no log. Lines and fields are counted from 1.
#[derive(Debug, thiserror::Error)]
pub enum BadLog {
    /// The file can not be read.
    #[error("line {0}: {1}")]
    Read(u64, std::io::Error),
    /// It begins as gzip does.
    #[error("it is compressed")]
    Compressed,
    /// A line is longer than [`MAX_LINE`].
    #[error("line {0} is longer than {MAX_LINE} bytes")]
    LongLine(u64),
    /// More lines than [`MAX_LINES`].
    #[error("it has more than {0} lines")]
    TooManyLines(u64),
    /// More jobs than [`MAX_JOBS`].
    #[error("it has more than {0} jobs")]
    TooManyJobs(usize),
    /// A line that is no comment has another number of fields.
    #[error("line {0} has {1} fields; a job has 18, and a comment begins with ;")]
    Fields(u64, usize),
    /// A field can not be meant.
    #[error("line {line}, field {field} ({name}): '{text}' {why}", name = FIELDS[*.field - 1])]
    Field {
        /// Which line.
        line: u64,
        /// Which field.
        field: usize,
        /// The field, as far as it can be shown.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What a line says of a job, as far as a replay needs it; `None` is what the log does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Field 1.
    pub number: Option<u64>,
    /// Field 2, in milliseconds since the log began.
    pub submit_ms: u64,
    /// Field 4.
    pub run_ms: Option<u64>,
    /// Field 8, or field 5 where that is not known.
    pub processors: Option<u64>,
    /// Field 9.
    pub requested_ms: Option<u64>,
    /// Field 10, kilobytes for each processor.
    pub memory_kb: Option<u64>,
    /// Field 12.
    pub user: Option<u32>,
}

/// A log as it was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The jobs, in the order of their lines.
    pub records: Vec<Record>,
    /// How many lines were about a part of a job that another line is about as a whole (status 2 to 4).
    pub parts: u64,
}

/// Reads a log to its end.
///
/// # Errors
/// It can not be read, or is no log; says which line and field.
pub fn read(from: impl BufRead) -> Result<Log, BadLog> {
    within(from, MAX_JOBS, MAX_LINES)
}

fn within(mut from: impl BufRead, most_jobs: usize, most_lines: u64) -> Result<Log, BadLog> {
    let mut log = Log::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let mut limited = from.by_ref().take(MAX_LINE + 1);
        limited.read_until(b'\n', &mut bytes).map_err(|error| BadLog::Read(line, error))?;
        if bytes.is_empty() {
            break;
        }
        if line == 1 && bytes.starts_with(&[0x1f, 0x8b]) {
            return Err(BadLog::Compressed);
        }
        if bytes.len() as u64 > MAX_LINE {
            return Err(BadLog::LongLine(line));
        }
        if line > most_lines {
            return Err(BadLog::TooManyLines(most_lines));
        }
        let text = bytes.trim_ascii();
        if text.is_empty() || text.starts_with(b";") {
            continue;
        }
        match record(line, text)? {
            None => log.parts += 1,
            Some(_) if log.records.len() == most_jobs => return Err(BadLog::TooManyJobs(most_jobs)),
            Some(record) => log.records.push(record),
        }
    }
    Ok(log)
}

/// A line with its fields, each a number.
struct Line<'a> {
    number: u64,
    fields: [(&'a [u8], Thousandths); 18],
}

/// A job, or nothing for a part of one.
fn record(number: u64, text: &[u8]) -> Result<Option<Record>, BadLog> {
    let line = Line::of(number, text)?;
    // 2: to be continued; 3 and 4: the last part. The whole job has a line of its own.
    if matches!(line.whole(11)?, Some(2..=4)) {
        return Ok(None);
    }
    let known = |count: Option<u64>| count.filter(|count| *count > 0);
    Ok(Some(Record {
        number: line.whole(1)?,
        submit_ms: line.thousandths(2).ok_or_else(|| line.bad(2, "is no time since the log began"))?,
        run_ms: line.milliseconds(4)?,
        processors: known(line.whole(8)?).or(known(line.whole(5)?)),
        requested_ms: known(line.milliseconds(9)?),
        memory_kb: line.thousandths(10).map(|thousandths| thousandths.div_ceil(1000)),
        user: line
            .whole(12)?
            .map(|user| u32::try_from(user).map_err(|_| line.bad(12, "is no number of a user")))
            .transpose()?,
    }))
}

/// A number with its sign, in thousandths: the format has fractions of seconds.
#[derive(Clone, Copy, Default)]
struct Thousandths {
    negative: bool,
    count: u64,
}

impl<'a> Line<'a> {
    fn of(number: u64, text: &'a [u8]) -> Result<Self, BadLog> {
        let mut line = Self { number, fields: [(&[], Thousandths::default()); 18] };
        let mut count = 0;
        for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            if let Some(field) = line.fields.get_mut(count) {
                field.0 = word;
            }
            count += 1;
        }
        if count != line.fields.len() {
            return Err(BadLog::Fields(number, count));
        }
        for field in 1..=line.fields.len() {
            let value = thousandths(line.fields[field - 1].0);
            line.fields[field - 1].1 = value.map_err(|why| line.bad(field, why))?;
        }
        Ok(line)
    }

    fn bad(&self, field: usize, why: &'static str) -> BadLog {
        let bytes = self.fields[field - 1].0;
        let text = bytes[..bytes.len().min(MAX_SHOWN)].escape_ascii().to_string();
        let more = if bytes.len() > MAX_SHOWN { "…" } else { "" };
        BadLog::Field { line: self.number, field, text: text + more, why }
    }

    /// What is negative is not known.
    fn thousandths(&self, field: usize) -> Option<u64> {
        let Thousandths { negative, count } = self.fields[field - 1].1;
        (!negative).then_some(count)
    }

    /// A time that something takes.
    fn milliseconds(&self, field: usize) -> Result<Option<u64>, BadLog> {
        let time = self.thousandths(field);
        let long = time.is_some_and(|time| time > MAX_SECONDS * 1000);
        if long { Err(self.bad(field, "is more than a hundred years")) } else { Ok(time) }
    }

    /// A count.
    fn whole(&self, field: usize) -> Result<Option<u64>, BadLog> {
        let count = self.thousandths(field);
        let broken = count.is_some_and(|count| count % 1000 > 0);
        if broken { Err(self.bad(field, "is no whole number")) } else { Ok(count.map(|count| count / 1000)) }
    }
}

/// Reads `-1`, `12` or `0.25`; what is finer than a thousandth is cut off.
fn thousandths(word: &[u8]) -> Result<Thousandths, &'static str> {
    let (negative, digits) = match word.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, part) = point.map_or((digits, &b""[..]), |at| (&digits[..at], &digits[at + 1..]));
    let numeric = |digits: &[u8]| digits.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !numeric(whole) || !numeric(part) || (point.is_some() && part.is_empty()) {
        return Err("is no number");
    }
    let large = "is too large a number";
    let next = |count: u64, digit: &u8| count.checked_mul(10)?.checked_add(u64::from(digit - b'0'));
    let count = whole.iter().try_fold(0, next).filter(|count| *count <= MAX_NUMBER).ok_or(large)?;
    let part = part.iter().chain(b"000").take(3).try_fold(0, next).ok_or(large)?;
    Ok(Thousandths { negative, count: count * 1000 + part })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Log, BadLog> {
        read(text.as_bytes())
    }

    #[test]
    fn a_line_is_a_job_and_what_is_negative_is_not_known() {
        let log = of(
            "; Version: 2.2\n\n 7 10 -1 60.5 4 -1 -1 8 120 2048 1 3 1 -1 2 -1 -1 -1\r\n8 11 0 -1 4 -1 -1 -1 -1 -1 5 -1 -1 -1 -1 -1 -1 -1",
        );
        let seven = Record {
            number: Some(7),
            submit_ms: 10_000,
            run_ms: Some(60_500),
            processors: Some(8),
            requested_ms: Some(120_000),
            memory_kb: Some(2048),
            user: Some(3),
        };
        let eight = Record {
            number: Some(8),
            submit_ms: 11_000,
            run_ms: None,
            processors: Some(4),
            requested_ms: None,
            memory_kb: None,
            user: None,
        };
        assert_eq!(log.unwrap(), Log { records: vec![seven, eight], parts: 0 });
    }

    #[test]
    fn parts_of_a_job_are_counted_and_left_out() {
        let line = |status: u8, submit: &str| format!("1 {submit} 0 9 1 -1 -1 1 9 -1 {status} 1 1 1 1 1 -1 -1\n");
        let log = of(&[line(1, "5"), line(2, "-1"), line(3, "-1"), line(0, "6")].concat()).unwrap();
        assert_eq!((log.records.len(), log.parts), (2, 2));
    }

    #[test]
    fn what_is_no_log_is_named_by_line_and_field() {
        let with = |field: usize, text: &str| {
            let mut words = ["1"; 18];
            words[field - 1] = text;
            format!("; a comment\n{}\n", words.join(" "))
        };
        for (text, says) in [
            ("1 2 3\n".to_owned(), "line 1 has 3 fields; a job has 18, and a comment begins with ;"),
            (["1"; 19].join("\t"), "line 1 has 19 fields"),
            ("{\"jobs\": []}".to_owned(), "line 1 has 2 fields"),
            (with(4, "1h"), "line 2, field 4 (run time): '1h' is no number"),
            (with(3, "--1"), "field 3 (wait time): '--1' is no number"),
            (with(3, "1."), "field 3 (wait time): '1.' is no number"),
            (with(3, ".5"), "field 3 (wait time): '.5' is no number"),
            (with(2, "-1"), "field 2 (submit time): '-1' is no time since the log began"),
            (with(5, "1.5"), "field 5 (number of allocated processors): '1.5' is no whole number"),
            (with(9, "3153600001"), "field 9 (requested time): '3153600001' is more than a hundred years"),
            (with(7, "1000000000000001"), "field 7 (used memory): '1000000000000001' is too large a number"),
            (with(12, "4294967296"), "field 12 (user id): '4294967296' is no number of a user"),
            (with(18, "\u{1b}[31m"), "field 18 (think time from preceding job): '\\x1b[31m' is no number"),
            (with(1, &"9".repeat(100)), "…' is too large a number"),
            ("\u{1f}\u{8b}".to_owned(), "has 1 fields"),
        ] {
            let error = of(&text).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(read(&[0x1f, 0x8b, 8][..]).unwrap_err().to_string(), "it is compressed");
    }

    #[test]
    fn lines_and_their_number_are_bounded() {
        let comment = |length: usize| format!(";{}\n", "x".repeat(length));
        assert_eq!(of(&comment(65_534)).unwrap(), Log::default());
        assert_eq!(of(&comment(65_535)).unwrap_err().to_string(), "line 1 is longer than 65536 bytes");
        let endless = std::io::BufReader::new(std::io::repeat(b'\n'));
        assert_eq!(within(endless, 10, 2000).unwrap_err().to_string(), "it has more than 2000 lines");
        let jobs = "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n".repeat(10);
        assert_eq!(within(jobs.as_bytes(), 10, 10).unwrap().records.len(), 10);
        assert_eq!(within(jobs.as_bytes(), 9, 10).unwrap_err().to_string(), "it has more than 9 jobs");
    }

    /// Pieces of which logs, and what is nearly one, are made.
    fn nearly() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            8 => "-?[0-9]{1,17}(\\.[0-9]{0,4})?".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..6),
        ];
        let end = proptest::sample::select(vec![&b"\n"[..], b" \r\n", b" ; ", b"\t"]);
        let line = (proptest::collection::vec(word, 16..20), end);
        proptest::collection::vec(line.prop_map(|(words, end)| [words.join(&b' '), end.to_vec()].concat()), 0..4)
            .prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            read(&bytes[..]).ok();
        }

        #[test]
        fn what_is_nearly_a_log_is_one_or_is_refused_by_a_line_that_is_there(bytes in nearly()) {
            let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
            match read(&bytes[..]) {
                Ok(log) => prop_assert!(log.records.len() as u64 + log.parts <= lines),
                Err(BadLog::Fields(line, count)) => prop_assert!(line <= lines && count != 18),
                Err(BadLog::Field { line, field, text, .. }) => {
                    prop_assert!(line <= lines && (1..=18).contains(&field) && text.is_ascii());
                }
                Err(BadLog::Compressed) => prop_assert!(bytes.starts_with(&[0x1f, 0x8b])),
                Err(other) => prop_assert!(false, "{other}"),
            }
        }

        #[test]
        fn numbers_are_read_as_they_are_written(whole in 0..MAX_NUMBER, part in 0..1000u64, negative: bool) {
            let sign = if negative { "-" } else { "" };
            let read = thousandths(format!("{sign}{whole}.{part:03}").as_bytes()).unwrap();
            prop_assert_eq!((read.negative, read.count), (negative, whole * 1000 + part));
        }
    }
}
