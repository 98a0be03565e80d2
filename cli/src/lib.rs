//! `qrm`: reads the command line, asks the daemon, prints for people, pipes or programs.
//! It refuses to know how jobs are kept and run.

mod again;
mod attached;
mod commands;
mod complete;
mod follow;
mod render;
mod terminal;
mod watching;

use clap::{Args as _, FromArgMatches, Subcommand, ValueHint};
use commands::Verb;
use qrm_protocol::client::Client;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::{self, Place};
use render::Out;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

/// Queue, run and account for work on one shared machine.
///
/// The daemon starts by itself on first use; jobs go on when it ends, and when the terminal does.
#[derive(Debug, clap::Args)]
struct Args {
    /// Print JSON: one document, or a line for each event.
    #[arg(long, global = true, help_heading = GLOBAL)]
    json: bool,
    /// Talk to the daemon at this socket; without it QRM_SOCKET, the system's, or your own.
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "PATH", value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// Print only what was asked for.
    #[arg(long, short, global = true, help_heading = GLOBAL)]
    quiet: bool,
}

/// Options of every verb stand behind those of its own.
const GLOBAL: &str = "Global options";

/// The exit code of a failure of qrm where its other exit codes are a job's.
const OWN_FAILURE: u8 = 125;

const EXIT_CODES: &str = "Exit codes: 0 success; 1 a job ended badly (wait of several), or something does not work (doctor); 2 \
refused or wrong; 3 no daemon, or one of another version; 4 the daemon failed. `run`, `attach` and `wait ID` exit with the job's own \
code, 128 + its signal, 124 on a time limit, \
130 if it was cancelled before it ran, 125 for a failure of qrm itself; `exec` in the same way with that of its command.";

/// What every verb may need.
pub(crate) struct Context {
    /// How to print.
    pub out: Out,
    socket: Option<PathBuf>,
    /// A daemon was there for us once.
    served: AtomicBool,
    /// It was said that it was stopped.
    told_of_stop: AtomicBool,
}

impl Context {
    /// Where the daemon is.
    pub(crate) fn place(&self) -> Result<Place, Error> {
        place::find(self.socket.as_deref(), |name| std::env::var_os(name))
    }

    /// For a thread that looks on while another waits: what is to be said, that one says.
    pub(crate) fn beside(&self) -> Self {
        let known = || AtomicBool::new(true);
        Self { out: self.out, socket: self.socket.clone(), served: known(), told_of_stop: known() }
    }

    /// A connection to the daemon, which is started if it is the user's own and does not run.
    pub(crate) fn connect(&self) -> Result<Client, Error> {
        let client = Client::connect_or_start(&self.place()?)?;
        self.served.store(true, Ordering::Relaxed);
        Ok(client)
    }
}

fn root() -> clap::Command {
    let root = clap::Command::new("qrm").version(env!("CARGO_PKG_VERSION")).propagate_version(true);
    let root = root.subcommand_required(true).arg_required_else_help(true).after_help(EXIT_CODES);
    Args::augment_args(root)
}

/// The whole tree of verbs and options.
pub(crate) fn command() -> clap::Command {
    with_negatives(Verb::augment_subcommands(root()))
}

/// In `--cpus -1` that is the value, which is wrong, and not an option that there is not.
fn with_negatives(command: clap::Command) -> clap::Command {
    let takes = |arg: clap::Arg| match arg.get_action().takes_values() && !arg.is_positional() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(takes).mut_subcommands(with_negatives)
}

/// As much of the tree as this command line needs. Building all of it takes longer than most verbs themselves.
fn command_for(mut words: impl Iterator<Item = OsString>) -> clap::Command {
    let mut verb = None;
    while let Some(word) = words.next() {
        // The value of the one global option that has one, if it is a word of its own.
        if word == "--socket" {
            words.next();
        } else if !word.as_encoded_bytes().starts_with(b"-") {
            verb = Some(word);
            break;
        }
    }
    match verb.as_ref().and_then(|verb| verb.to_str()).and_then(commands::only) {
        Some(verb) => with_negatives(root().subcommand(verb)),
        None => command(),
    }
}

fn parsed(words: &[OsString]) -> Result<(Args, Verb), clap::Error> {
    let matches = command_for(words.iter().skip(1).cloned()).try_get_matches_from(words)?;
    Ok((Args::from_arg_matches(&matches)?, Verb::from_arg_matches(&matches)?))
}

/// Runs the command line; returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    default_sigpipe();
    if complete::answer() {
        return ExitCode::SUCCESS;
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    let (args, verb) = match parsed(&words) {
        Ok(parsed) => parsed,
        Err(error) => return wrong_usage(&words, &error),
    };
    let own_failure = verb.speaks_for_a_job();
    let mut out = Out::new(args.json, args.quiet);
    if own_failure {
        // Where the exit code is the job's own, a failure of qrm must not look like one.
        out.failure = OWN_FAILURE;
    }
    let context =
        Context { out, socket: args.socket, served: AtomicBool::new(false), told_of_stop: AtomicBool::new(false) };
    match commands::run(&context, verb) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            context.out.error(&error);
            let refused = error.code.exit_code() == Code::InvalidArgument.exit_code();
            ExitCode::from(if own_failure && !refused { OWN_FAILURE } else { error.code.exit_code() })
        }
    }
}

/// A reader that closes early (`qrm jobs | head -1`) ends qrm without a word, as with other programs.
fn default_sigpipe() {
    use nix::sys::signal::{SigHandler, Signal, signal};
    // SAFETY: no handler is installed, only the default is restored, before any other thread exists.
    if let Err(error) = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) } {
        eprintln!("qrm: SIGPIPE can not be set to its default: {error}");
    }
}

/// What clap has to say: help and versions on standard output, mistakes on standard error or as JSON.
fn wrong_usage(words: &[OsString], error: &clap::Error) -> ExitCode {
    // clap repeats words as they are, and strips what looks like a colour: it is to see them as they can be shown.
    let shown: Vec<OsString> = words.iter().map(printable).collect();
    let again = (shown != words).then(|| parsed(&shown).err());
    let error = match &again {
        None => error,
        Some(Some(error)) => error,
        Some(None) => {
            Out::new(false, false).error(&as_error(error));
            return ExitCode::from(2);
        }
    };
    // What follows is the command's own.
    let json = words.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    if json && error.use_stderr() {
        Out::new(true, false).error(&as_error(error));
        return ExitCode::from(2);
    }
    // In one piece: clap itself writes each line alone.
    let (out, text) = (Out::new(false, false), error.render());
    let shown = |colour| if colour { text.ansi().to_string() } else { text.to_string() };
    match error.use_stderr() {
        true => out.say(&shown(out.on_stderr().colour)),
        false => out.print(&shown(out.colour)),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// A word without what a terminal would obey; bytes that are no text stay what they are.
fn printable(word: &OsString) -> OsString {
    let chunks = word.as_bytes().utf8_chunks();
    let bytes = chunks.flat_map(|chunk| [render::clean(chunk.valid()).into_bytes(), chunk.invalid().to_vec()].concat());
    OsString::from_vec(bytes.collect())
}

/// What clap found wrong, as an error like any other.
pub(crate) fn as_error(error: &clap::Error) -> Error {
    let text = error.render().to_string();
    let text = text.trim_start_matches("error: ");
    let (first, rest) = text.split_once("\n\n").unwrap_or((text, ""));
    // What is missing stands in lines of its own.
    let mut message = first.split_whitespace().collect::<Vec<_>>().join(" ");
    if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let tree = command();
        let mut verb = &tree;
        for word in std::env::args_os() {
            verb = verb.find_subcommand(word).unwrap_or(verb);
        }
        let verbs: Vec<&str> = verb.get_subcommands().map(clap::Command::get_name).collect();
        message = format!("what to do is missing: {}", verbs.join(", "));
    }
    let hint = rest.lines().map(str::trim).find(|line| line.starts_with("tip:") || line.starts_with("Usage:"));
    Error { code: Code::InvalidArgument, message, hint: hint.map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_can_not_be_meant_is_refused_by_its_option() {
        for (words, says) in [
            ("submit --cpus -1 -- true", "'-1' for '--cpus <N>': '-1' is not a whole number from 0 to 4294967295"),
            ("submit --cpus 1.5 -- true", "'1.5' for '--cpus <N>': '1.5' is not a whole number"),
            ("submit --retries 4294967296 -- true", "'4294967296' is not a whole number from 0 to 4294967295"),
            ("when --priority -1 -- true", "'-1' for '--priority <N>': '-1' is not a priority; write 0 to 100"),
            ("update 12 --time -1", "'-1' for '--time <DURATION>': '-1' is not a duration"),
            ("queue set night --weight -1", "'-1' for '--weight <N>': '-1' is not a whole number"),
            ("submit --or '--cpus=x' -- true", "'x' is not a whole number"),
        ] {
            let words = ["qrm".to_owned()].into_iter().chain(shlex::split(words).unwrap()).map(OsString::from);
            let error = parsed(&words.collect::<Vec<_>>()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        let words = ["qrm", "submit", "nice", "-1", "true"].map(OsString::from);
        assert!(parsed(&words).is_ok(), "what follows a command is its own");
    }

    #[test]
    fn a_part_of_the_tree_is_as_it_is_in_the_whole() {
        let (mut whole, help) = (command(), |verb: &mut clap::Command| verb.render_long_help().to_string());
        whole.build();
        let names: Vec<String> = whole.get_subcommands().map(|verb| verb.get_name().to_owned()).collect();
        for name in names.iter().filter(|name| *name != "help") {
            let line = ["--json", name, "help"].map(OsString::from);
            let mut part = command_for(line.into_iter());
            part.build();
            let all: Vec<&str> = part.get_subcommands().map(clap::Command::get_name).filter(|n| *n != "help").collect();
            assert_eq!(all, [name], "{name} is not built alone");
            let (alone, among) = (part.find_subcommand_mut(name).unwrap(), whole.find_subcommand_mut(name).unwrap());
            assert_eq!(help(alone), help(among), "{name}");
        }
        let line = ["--socket", "run", "-q", "status"].map(OsString::from);
        let part = command_for(line.into_iter());
        assert!(part.find_subcommand("status").is_some() && part.find_subcommand("run").is_none());
        for line in [&["--socket", "show"][..], &["--help"], &[], &["shwo"]] {
            assert!(command_for(line.iter().map(OsString::from)).get_subcommands().count() > 20, "{line:?}");
        }
    }
}
