//! Printing: for people on a terminal, plain text in a pipe, JSON for programs.
//! It refuses to fetch anything.

pub(crate) mod clock;
pub(crate) mod excerpt;
pub(crate) mod explain;
pub(crate) mod gauge;
pub(crate) mod job;
pub(crate) mod progress;
pub(crate) mod queue;
pub(crate) mod table;

use qrm_protocol::error::{Code, Error};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::os::fd::AsFd;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub json: bool,
    pub quiet: bool,
    /// Standard output is a terminal.
    pub terminal: bool,
    pub colour: bool,
    /// Columns of the terminal; none in a pipe.
    pub width: Option<u16>,
    /// The exit code of a failure of qrm's own.
    pub failure: u8,
}

/// One of the two streams that a program writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standard {
    Output,
    Error,
}

impl Standard {
    /// As they stand in every pair of them.
    pub(crate) const BOTH: [Self; 2] = [Self::Output, Self::Error];

    /// Why it takes no more.
    pub(crate) fn failed(self, why: &std::io::Error) -> Error {
        let name = if self == Self::Output { "standard output" } else { "standard error" };
        Error::new(Code::Unavailable, format!("{name}: {why}"))
    }
}

/// What a colour means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Busy,
    Quiet,
    Plain,
}

impl Out {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self::on(json, quiet, std::io::stdout())
    }

    /// The same for standard error.
    pub(crate) fn on_stderr(&self) -> Self {
        Self::on(self.json, self.quiet, std::io::stderr())
    }

    fn on(json: bool, quiet: bool, to: impl IsTerminal + AsFd) -> Self {
        let terminal = to.is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let width = terminal.then(|| rustix::termios::tcgetwinsize(to).map_or(80, |size| size.ws_col).max(40));
        Self { json, quiet, terminal, colour, width, failure: Code::Unavailable.exit_code() }
    }

    /// For tests: without colour, for a terminal of this width or a pipe.
    #[cfg(test)]
    pub(crate) fn plain(width: Option<u16>) -> Self {
        let terminal = width.is_some();
        Self { json: false, quiet: false, terminal, colour: false, width, failure: Code::Unavailable.exit_code() }
    }

    /// Prints text, whole or not at all. A stream that takes no more ends the program.
    pub(crate) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            self.end(Standard::Output, &error);
        }
    }

    /// Ends the program because a stream takes no more: as its signal would if the reader is gone, else with a word.
    pub(crate) fn end(&self, which: Standard, why: &std::io::Error) -> ! {
        if why.kind() == std::io::ErrorKind::BrokenPipe {
            std::process::exit(141);
        }
        // Of standard error there is nowhere left to say it.
        if which == Standard::Output {
            let text = format!("qrm: {}\n", which.failed(why).message);
            progress::beside(|| std::io::stderr().write_all(text.as_bytes())).ok();
        }
        std::process::exit(self.failure.into())
    }

    /// Prints one JSON document.
    pub(crate) fn document(&self, value: &impl Serialize) {
        let mut text = if self.terminal { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }
            .expect("what comes from the wire goes back to it");
        text.push('\n');
        self.print(&json(&text));
    }

    /// Prints a refusal or a failure.
    pub(crate) fn error(&self, error: &Error) {
        if self.json {
            #[derive(Serialize)]
            struct Document<'a> {
                error: &'a Error,
            }
            return self.document(&Document { error });
        }
        let mut text = format!("qrm: {}\n", clean(&error.message));
        if let Some(hint) = &error.hint {
            text += &format!("  hint: {}\n", clean(hint));
        }
        self.say(&text);
    }

    /// Says something beside what was asked for.
    pub(crate) fn note(&self, text: &str) {
        if !self.quiet && !self.json {
            self.say(&format!("{text}\n"));
        }
    }

    /// Writes text to standard error. If that takes no more, it ends the program.
    pub(crate) fn say(&self, text: &str) {
        if let Err(error) = progress::beside(|| std::io::stderr().write_all(text.as_bytes())) {
            self.end(Standard::Error, &error);
        }
    }

    /// Text in the colour of its meaning.
    pub(crate) fn tone(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.colour => return text.to_owned(),
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Busy => "36",
            Tone::Quiet => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    /// Text in one of a few colours that mean nothing but that neighbours differ.
    pub(crate) fn nth(&self, place: u64, text: &str) -> String {
        const CODES: [&str; 6] = ["36", "33", "35", "34", "32", "96"];
        let code = CODES[usize::try_from(place % CODES.len() as u64).unwrap_or(0)];
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// JSON in which nothing is left that a terminal would obey: it can only stand in strings, where its number says the same.
pub(crate) fn json(text: &str) -> std::borrow::Cow<'_, str> {
    let bad = |c: char| qrm_protocol::text::is_obeyed(c) && c != '\n';
    if !text.contains(bad) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if bad(c) {
            safe += &format!("\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe.into()
}

/// Whether this process was started to ignore a signal, as by nohup(1).
pub(crate) fn is_ignored(signal: nix::sys::signal::Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal as i32 - 1)) != 0)
}

/// As much of a line as a terminal of this width has room for.
pub(crate) fn fitted(line: &str, width: Option<u16>) -> String {
    let width = width.map_or(usize::MAX, usize::from);
    if line.width() <= width {
        return line.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let fits = line.chars().take_while(|c| {
        let taken = c.width().unwrap_or(0);
        let fits = taken <= room;
        room = room.saturating_sub(taken);
        fits
    });
    fits.chain(['…']).collect()
}

/// Parts of a text with their meaning, on as many lines as a terminal of this width needs; those after the first are as far in
/// as the first part is wide. It ends in a newline.
pub(crate) fn wrapped(out: &Out, parts: &[(&str, Tone)]) -> String {
    let width = out.width.map_or(usize::MAX, usize::from);
    let (first, rest) = parts.split_first().map_or((("", Tone::Plain), parts), |(first, rest)| (*first, rest));
    let inset = first.0.width();
    let toned = |tone, run: &str| if run.is_empty() { String::new() } else { out.tone(tone, run) };
    let mut text = toned(first.1, first.0);
    let mut column = inset;
    for (words, tone) in rest {
        // As much of it as stands on one line is in one colour.
        let mut run = String::new();
        for word in words.split_whitespace() {
            if column > inset && column + 1 + word.width() > width {
                text += &format!("{}\n{}", toned(*tone, &run), " ".repeat(inset));
                run.clear();
                column = inset;
            } else if column > inset {
                if run.is_empty() {
                    text.push(' ')
                } else {
                    run.push(' ')
                }
                column += 1;
            }
            run += word;
            column += word.width();
        }
        text += &toned(*tone, &run);
    }
    text.push('\n');
    text
}

/// A line of what is said in full of something: what it is about, and that, on further lines below where a terminal has too
/// little room for it. Spaces in it stay as they are where it fits.
pub(crate) fn entry(out: &Out, key: &str, value: &str) -> String {
    let key = format!("{key:<12} ");
    if out.width.is_some_and(|width| key.width() + value.width() > usize::from(width)) {
        return wrapped(out, &[(&key, Tone::Quiet), (value, Tone::Plain)]);
    }
    format!("{}{value}\n", out.tone(Tone::Quiet, &key))
}

/// Text from someone else, safe for a terminal, on one line.
pub(crate) fn clean(text: &str) -> String {
    qrm_protocol::text::printable(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_goes_on_below_where_it_began() {
        let parts = [("- ", Tone::Plain), ("one two three", Tone::Plain), ("(four)", Tone::Quiet)];
        assert_eq!(wrapped(&Out::plain(Some(10)), &parts), "- one two\n  three\n  (four)\n");
        assert_eq!(wrapped(&Out::plain(None), &parts), "- one two three (four)\n");
        let coloured = Out { colour: true, ..Out::plain(Some(12)) };
        let parts = [("", Tone::Plain), ("one two", Tone::Plain), ("three four", Tone::Quiet)];
        assert_eq!(wrapped(&coloured, &parts), "one two\n\x1b[2mthree four\x1b[0m\n");
        assert_eq!(
            wrapped(&Out::plain(Some(10)), &[("", Tone::Plain), ("averyveryverylong w", Tone::Plain)]),
            "averyveryverylong\nw\n"
        );
    }

    #[test]
    fn a_line_takes_no_more_room_than_there_is() {
        for (line, width, shown) in [
            ("abc", Some(3), "abc"),
            ("abcd", Some(3), "ab…"),
            ("日本語", Some(5), "日本…"),
            ("日本語", Some(4), "日…"),
            ("abcd", None, "abcd"),
        ] {
            assert_eq!(fitted(line, width), shown, "{line} {width:?}");
        }
    }
}
