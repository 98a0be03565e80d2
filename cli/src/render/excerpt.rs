//! Errors in a file: its name, line and column, and the line itself with carets under what is wrong.
//! It refuses to know what files say.

use super::{Out, clean};
use qrm_protocol::error::Error;
use serde::Serialize;
use std::ops::Range;
use unicode_width::UnicodeWidthStr;

/// An error, and where in a file it is, if it is in one.
#[derive(Debug)]
pub(crate) struct Fault {
    error: Error,
    at: Option<Box<Place>>,
}

/// A part of a line.
#[derive(Debug, Serialize)]
pub(crate) struct Place {
    file: String,
    /// From 1.
    line: usize,
    /// From 1, in characters.
    column: usize,
    #[serde(skip)]
    before: String,
    #[serde(skip)]
    part: String,
    #[serde(skip)]
    after: String,
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { error, at: None }
    }
}

impl Fault {
    /// An error in a part of a text; of a part of several lines the first one counts.
    pub(crate) fn new(error: Error, file: &str, text: &str, span: Range<usize>) -> Self {
        Self { error, at: Some(Box::new(Place::of(file, text, span))) }
    }

    /// For people: `file:line:column: what is wrong`.
    pub(crate) fn message(&self) -> String {
        let place = self.at.as_ref().map(|at| format!("{}:{}:{}: ", at.file, at.line, at.column)).unwrap_or_default();
        place + &self.error.message
    }

    /// Prints it; the exit code.
    pub(crate) fn report(self, out: &Out) -> u8 {
        let code = self.error.code.exit_code();
        let error = Error { message: self.message(), ..self.error };
        let Some(at) = self.at else {
            out.error(&error);
            return code;
        };
        if out.json {
            #[derive(Serialize)]
            struct Located<'a> {
                #[serde(flatten)]
                error: &'a Error,
                #[serde(flatten)]
                at: &'a Place,
            }
            #[derive(Serialize)]
            struct Document<'a> {
                error: Located<'a>,
            }
            out.document(&Document { error: Located { error: &error, at: &at } });
            return code;
        }
        let hint = error.hint.as_ref().map(|hint| format!("  hint: {}\n", clean(hint))).unwrap_or_default();
        let text = format!("qrm: {}\n{}{hint}", clean(&error.message), at.shown());
        out.say(&text);
        code
    }
}

/// A line of a file with a caret under one of its characters, both counted from 1.
pub(crate) fn line(number: u64, column: u64, text: &str) -> String {
    let from = usize::try_from(column).unwrap_or(usize::MAX).saturating_sub(1);
    let at = text.char_indices().nth(from).map_or(text.len(), |(at, _)| at);
    let mut place = Place::of("", text, at..at + 1);
    place.line = usize::try_from(number).unwrap_or(usize::MAX);
    place.shown()
}

/// The most columns of an excerpt.
const COLUMNS: usize = 80;

impl Place {
    fn of(file: &str, text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let last = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = text.ceil_char_boundary(span.end.max(start)).min(last);
        Self {
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[first..start].chars().count() + 1,
            before: shown(&text[first..start]),
            part: shown(&text[start..end.max(start)]),
            after: shown(text[end.max(start)..last].trim_end()),
        }
    }

    /// The line and the carets under it, cut to what fits; each line ends in a newline.
    fn shown(&self) -> String {
        let number = self.line.to_string();
        let room = COLUMNS.saturating_sub(number.len() + 5);
        // What is wrong comes first, then what is left of it, then what is right of it.
        let part = cut(&self.part, room * 3 / 4);
        let before = cut_start(&self.before, (room - part.width()).min(room / 2 + room / 4));
        let after = cut(&self.after, room - part.width() - before.width());
        let carets = "^".repeat(part.width().max(1));
        let (margin, indent) = (" ".repeat(number.len()), " ".repeat(before.width()));
        format!("  {number} | {before}{part}{after}\n  {margin} | {indent}{carets}\n")
    }
}

/// A piece of a line as it can stand on a terminal: a tab is a column wide there, like any other character.
fn shown(text: &str) -> String {
    clean(&text.replace('\t', " "))
}

fn cut(text: &str, most: usize) -> String {
    if text.width() <= most {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        if kept.width() + 2 > most {
            break;
        }
        kept.push(c);
    }
    // A wide character may have been the last one.
    while kept.width() >= most && kept.pop().is_some() {}
    if most > 0 {
        kept.push('…');
    }
    kept
}

fn cut_start(text: &str, most: usize) -> String {
    let turned = cut(&text.chars().rev().collect::<String>(), most);
    turned.chars().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> Place {
        Place::of("f", text, span)
    }

    #[test]
    fn carets_stand_under_what_is_wrong() {
        for (text, span, line, column, shown) in [
            ("a = 1\nbad = 2\n", 6..9, 2, 1, "  2 | bad = 2\n    | ^^^\n"),
            ("x = \"žluť\" # c", 4..12, 1, 5, "  1 | x = \"žluť\" # c\n    |     ^^^^^^\n"),
            ("\twide = \"図\"", 8..13, 1, 9, "  1 |  wide = \"図\"\n    |         ^^^^\n"),
            ("a\nb", 3..3, 2, 2, "  2 | b\n    |  ^\n"),
            ("a\nb\n", 4..9, 3, 1, "  3 | \n    | ^\n"),
            ("one\ntwo\nthree", 1..9, 1, 2, "  1 | one\n    |  ^^\n"),
            ("a\u{1b}[31m = 1\r\n", 0..6, 1, 1, "  1 | a·[31m = 1\n    | ^^^^^^\n"),
        ] {
            let place = place(text, span);
            assert_eq!((place.line, place.column, place.shown().as_str()), (line, column, shown), "{text:?}");
        }
    }

    #[test]
    fn a_long_line_is_cut_to_eighty_columns_around_what_is_wrong() {
        let long = "図x".repeat(400);
        for (from, to) in [(0, 3), (400, 404), (400, 900), (1_596, 1_600), (0, 1_600)] {
            let shown = place(&long, from..to).shown();
            let (line, carets) = shown.split_once('\n').unwrap();
            assert!(line.width() <= 80 && carets.trim_end().len() <= 80, "{shown}");
            assert!(carets.contains('^'), "{shown}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_and_no_span_end_the_process(text in "(\\PC|[\\x00-\\x20]){0,200}", from in 0usize..300, to in 0usize..300) {
            let shown = place(&text, from..to).shown();
            proptest::prop_assert!(shown.lines().count() == 2 && shown.lines().all(|line| line.width() <= 81));
        }
    }
}
