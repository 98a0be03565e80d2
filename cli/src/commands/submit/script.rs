//! Scripts with their options inside: `#QRM` and `#SBATCH` lines among the first comments.
//! It refuses to know what options there are; that is submit's own command line.

use super::{Asked, sbatch};
use crate::as_error;
use crate::render::Out;
use crate::render::excerpt::Fault;
use clap::Parser;
use clap::error::{ContextKind, ContextValue};
use qrm_protocol::error::{Code, Error};
use qrm_protocol::job::{JobSpec, MAX_SCRIPT_BYTES};
use qrm_protocol::queue::QueueName;
use std::ffi::OsString;
use std::io::Read;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Options as a line of a script has them.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Line {
    #[command(flatten)]
    asked: Asked,
    #[arg(long)]
    dry_run: bool,
}

impl Line {
    /// These, and of the others what these do not say.
    fn over(self, others: Self) -> Self {
        Self { asked: self.asked.over(others.asked), dry_run: self.dry_run || others.dry_run }
    }
}

/// The queues that there are, which is only asked where that matters.
pub(super) type Queues<'a> = &'a dyn Fn() -> Result<Vec<QueueName>, Error>;

/// Whose options a line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Qrm,
    Sbatch,
}

impl Mark {
    fn word(self) -> &'static str {
        match self {
            Self::Qrm => "#QRM",
            Self::Sbatch => "#SBATCH",
        }
    }

    /// The mark of a line, and where its options begin.
    fn of(line: &str) -> Option<(Self, usize)> {
        [Self::Qrm, Self::Sbatch].into_iter().find_map(|mark| {
            let rest = line.strip_prefix(mark.word())?;
            // `#QRMX` is a word of somebody else's.
            let ends = rest.is_empty() || rest.starts_with(|c: char| c.is_whitespace() || c == '-');
            ends.then_some((mark, mark.word().len()))
        })
    }
}

/// A line with options, split as a shell would.
#[derive(Debug)]
pub(super) struct Directive {
    pub(super) words: Vec<String>,
    /// Where what follows the mark is.
    pub(super) span: Range<usize>,
}

/// The text of a script, for errors that are in it.
pub(super) struct Source {
    name: String,
    text: String,
    /// Options of submit, and where the script gives them.
    given: Vec<Given>,
}

/// An option that a script gives.
struct Given {
    option: String,
    at: Range<usize>,
    /// From there to the end of the line.
    rest: Range<usize>,
}

impl Source {
    fn fault(&self, error: Error, span: Range<usize>) -> Fault {
        Fault::new(error, &self.name, &self.text, span)
    }

    /// Where a part of a line is; the whole line if it is not written there in this way.
    pub(super) fn find(&self, part: &str, within: &Range<usize>) -> Range<usize> {
        let found = self.text[within.clone()].find(part).filter(|_| !part.is_empty());
        found.map_or(within.clone(), |at| within.start + at..within.start + at + part.len())
    }

    /// Whether the text can be run: by what its first line names, or by a shell.
    fn check(&self) -> Result<(), Fault> {
        if let Some(at) = self.text.find('\0') {
            return Err(self.fault(Error::invalid("a NUL byte can not be part of a script"), at..at + 1));
        }
        let first = self.text.split('\n').next().unwrap_or_default();
        if first.starts_with("#!") && first.ends_with('\r') {
            let error = Error::invalid("the lines end as on Windows, and no program has a name that does");
            let hint = format!("tr -d '\\r' <{0} >{0}.new makes them end as here", self.name);
            return Err(self.fault(error.hint(hint), 0..first.len() - 1));
        }
        Ok(())
    }

    fn line(&self, span: &Range<usize>) -> usize {
        self.text[..span.start].matches('\n').count() + 1
    }

    /// An error that names an option is where the script gives that option, unless the command line does as well.
    pub(super) fn locate(&self, error: Error) -> Fault {
        let said = format!("{} {}", error.message, error.hint.as_deref().unwrap_or_default());
        let named = said.split_whitespace().filter(|word| word.starts_with("--"));
        let mut named: Vec<String> = named.map(|word| word.trim_end_matches([':', ',', ';', '.']).to_owned()).collect();
        if let Some(rest) = error.message.strip_prefix("the ") {
            named.extend(rest.split(' ').next().map(|option| format!("--{option}")));
        }
        let typed = |option: &str| {
            let is_it = |word: OsString| word.as_bytes().split(|b| *b == b'=').next() == Some(option.as_bytes());
            std::env::args_os().any(is_it)
        };
        let missing = error.message.strip_prefix("there is no job ").unwrap_or_default();
        for given in self.given.iter().filter(|given| !typed(&given.option)) {
            let id = self.find(missing, &given.rest);
            if given.option.starts_with("--after") && id != given.rest {
                return self.fault(error, id);
            }
            if named.contains(&given.option) {
                return self.fault(error, given.at.clone());
            }
        }
        error.into()
    }
}

/// A script with options.
pub(super) struct Script {
    source: Source,
    path: PathBuf,
    line: Line,
}

/// The job that a script is.
pub(super) struct ScriptJob {
    pub(super) spec: JobSpec,
    pub(super) dry_run: bool,
    pub(super) source: Source,
}

impl Script {
    /// The script of this name, if it is one with options; whatever can not be read as one is a command.
    pub(super) fn read(path: &Path, queues: Queues<'_>) -> Result<Option<Self>, Fault> {
        let Some(bytes) = script_bytes(path) else { return Ok(None) };
        let lossy = String::from_utf8_lossy(&bytes);
        let marks = marks(&lossy);
        let name = path.display().to_string();
        let early = marks.iter().take_while(|(.., early)| *early).count();
        late_lines(&name, &lossy, &marks[early..]);
        if early == 0 {
            return Ok(None);
        }
        if bytes.len() > MAX_SCRIPT_BYTES {
            let message = format!("the script {name} is longer than {} KiB", MAX_SCRIPT_BYTES >> 10);
            return Err(Error::new(Code::ResourceExhausted, message)
                .hint(format!("qrm submit -- {name} runs it in its place"))
                .into());
        }
        let text = super::file::utf8(&name, &bytes)?.to_owned();
        let mut source = Source { name, text, given: Vec::new() };
        let line = asked(&mut source, &marks[..early], queues)?;
        Ok(Some(Self { source, path: path.to_owned(), line }))
    }

    /// The job, with what the command line says over what the script says. It runs a copy, so that what becomes of the
    /// file changes nothing.
    pub(super) fn job(self, asked: Asked) -> Result<ScriptJob, Fault> {
        let Self { source, path, line } = self;
        source.check()?;
        let unreadable = |e: std::io::Error| Error::invalid(format!("the script {}: {e}", source.name));
        let command = vec![std::path::absolute(&path).map_err(unreadable)?.into_os_string()];
        let mut spec = asked.over(line.asked).spec(command).map_err(|error| source.locate(error))?;
        spec.script = Some(source.text.clone());
        Ok(ScriptJob { spec: spec.checked()?, dry_run: line.dry_run, source })
    }
}

/// The start of a file that may be a script: its first line is a comment or empty.
fn script_bytes(path: &Path) -> Option<Vec<u8>> {
    // Anything else could block, or never end.
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let mut file = std::fs::File::open(path).ok()?;
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(4_096).read_to_end(&mut bytes).ok()?;
    let first = bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|byte| byte != b'#') {
        return None;
    }
    file.take(MAX_SCRIPT_BYTES as u64).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The lines with a mark: where their options are, and whether they stand before the first command.
fn marks(text: &str) -> Vec<(Mark, Range<usize>, bool)> {
    let (mut found, mut early, mut at) = (Vec::new(), true, 0);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end();
        early &= bare.trim_start().is_empty() || bare.trim_start().starts_with('#');
        if let Some((mark, from)) = Mark::of(bare) {
            let from = from + bare[from..].len() - bare[from..].trim_start().len();
            found.push((mark, at + from..at + bare.len(), early));
        }
        at += line.len();
    }
    found
}

/// Says of lines that come too late that they are not read.
fn late_lines(name: &str, text: &str, late: &[(Mark, Range<usize>, bool)]) {
    if let Some((mark, span, _)) = late.first() {
        let line = text[..span.start].matches('\n').count() + 1;
        let more = if late.len() > 1 { format!(", and {} more,", late.len() - 1) } else { String::new() };
        let word = mark.word();
        warn(name, line, &format!("this {word} line{more} comes after the first command and is not read"));
    }
}

/// Says what is left out; also where only JSON is asked for, and quietly, for it changes what the job is.
fn warn(name: &str, line: usize, what: &str) {
    let text = crate::render::clean(&format!("{name}:{line}: warning: {what}"));
    Out::new(false, false).say(&format!("qrm: {text}\n"));
}

/// The options of all lines: those of `#QRM` over those of `#SBATCH`.
fn asked(source: &mut Source, marks: &[(Mark, Range<usize>, bool)], queues: Queues<'_>) -> Result<Line, Fault> {
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for (mark, span, _) in marks {
        let Some(words) = shlex::split(&source.text[span.clone()]) else {
            return Err(source.fault(Error::invalid("this line ends within quotes or after a backslash"), span.clone()));
        };
        let directive = Directive { words, span: span.clone() };
        match mark {
            Mark::Qrm => own.push(directive),
            Mark::Sbatch => foreign.push(directive),
        }
    }
    let own = of_qrm(source, &own)?;
    let foreign = of_sbatch(source, &foreign, queues)?;
    Ok(own.over(foreign))
}

fn of_qrm(source: &mut Source, lines: &[Directive]) -> Result<Line, Fault> {
    for line in lines {
        // One by one, so that no line takes its value from the next one.
        parsed(&line.words).map_err(|error| refused(source, &error, std::slice::from_ref(line)))?;
        for (place, word) in line.words.iter().enumerate().filter(|(_, word)| word.starts_with("--")) {
            // The options of an alternative are not its job's.
            if place > 0 && line.words[place - 1] == "--or" {
                continue;
            }
            let option = word.split('=').next().unwrap_or(word).to_owned();
            let at = source.find(&option, &line.span);
            source.given.push(Given { option, rest: at.start..line.span.end, at });
        }
    }
    let all: Vec<String> = lines.iter().flat_map(|line| line.words.iter().cloned()).collect();
    parsed(&all).map_err(|error| refused(source, &error, lines))
}

fn of_sbatch(source: &mut Source, lines: &[Directive], queues: Queues<'_>) -> Result<Line, Fault> {
    let mut imported = sbatch::import(lines, &jiff::Zoned::now())
        .map_err(|wrong| source.fault(Error::invalid(wrong.why), source.find(&wrong.part, &wrong.span)))?;
    if imported.partitions.is_some() {
        imported.choose_queue(&queues()?);
    }
    let variables = if lines.is_empty() { Vec::new() } else { sbatch::variables(&source.text) };
    for warning in imported.warnings.iter().chain(&variables) {
        warn(&source.name, source.line(&warning.span), &warning.what);
    }
    let words: Vec<String> = imported.options.iter().map(|(name, value, _)| sbatch::word(name, value)).collect();
    let given = |(name, _, at): (&str, _, Range<usize>)| Given { option: name.to_owned(), rest: at.clone(), at };
    source.given.extend(imported.options.into_iter().map(given));
    parsed(&words).map_err(|error| source.locate(as_error(&error)))
}

fn parsed(words: &[String]) -> Result<Line, clap::Error> {
    Line::try_parse_from(words)
}

/// What clap refused, where it stands: the value, or the option; of what is said twice the second one.
fn refused(source: &Source, error: &clap::Error, lines: &[Directive]) -> Fault {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.split([' ', '=']).next().unwrap_or(text).to_owned()),
        _ => None,
    };
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(text)) if !text.is_empty() => Some(text.clone()),
        _ => None,
    };
    let option = context(ContextKind::InvalidArg);
    let holds = |line: &&Directive, part: &String| source.text[line.span.clone()].contains(part.as_str());
    let line = lines.iter().rev().find(|line| option.as_ref().is_none_or(|option| holds(line, option)));
    let span = line.or(lines.last()).map_or(0..0, |line| line.span.clone());
    let at = option.map_or(span.clone(), |option| source.find(&option, &span));
    // The value stands behind its option.
    let behind = at.start..span.end;
    let found = value.map(|value| source.find(&value, &behind)).filter(|found| *found != behind).unwrap_or(at);
    let mut error = as_error(error);
    // The usage is that of a command line, which this is not.
    error.hint = error.hint.and_then(|hint| hint.strip_prefix("tip: ").map(str::to_owned));
    source.fault(error, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source(text: &str) -> Source {
        Source { name: "s".to_owned(), text: text.to_owned(), given: Vec::new() }
    }

    #[test]
    fn only_the_first_comments_hold_options() {
        for (text, early, late) in [
            ("#!/bin/sh\n#QRM --cpus 2\n\n# why\n  # more\n#SBATCH -c 2\r\necho\n#QRM --mem 1G\n", 2, 1),
            ("echo\n#QRM --cpus 2\n", 0, 1),
            ("#QRM", 1, 0),
            ("#QRM\t--cpus 2", 1, 0),
            ("#QRM--cpus=2", 1, 0),
            ("# QRM --cpus 2\n##SBATCH -c 2\n#QRMX\n #QRM --cpus 2\n#qrm\n", 0, 0),
        ] {
            let marks = marks(text);
            let first = marks.iter().filter(|(_, _, early)| *early).count();
            assert_eq!((first, marks.len() - first), (early, late), "{text}");
            assert!(marks.iter().all(|(_, span, _)| !text[span.clone()].ends_with('\r')), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_script_ends_the_process(text in "(#(QRM|SBATCH) \\PC{0,30}\n|#SBATCH --?[a-z-]{1,12}[ =][0-9a-z:%@,+-]{0,12}\n|\\PC{0,10}\n){0,6}") {
            let marks: Vec<_> = marks(&text).into_iter().filter(|(_, _, early)| *early).collect();
            if let Err(fault) = asked(&mut source(&text), &marks, &|| Ok(vec![QueueName::default()])) {
                prop_assert!(!fault.message().is_empty());
            }
        }
    }
}
