//! What shells complete: the command line's own words, and what the daemon knows of ids, names and users.
//! It refuses to start a daemon, to keep anybody waiting, and to say what went wrong.

mod bash;
mod live;
mod values;

use clap_complete::CompleteEnv;
use clap_complete::env::{EnvCompleter, Fish, Shells, Zsh};
pub(crate) use live::Which;
use std::ffi::OsString;
pub(crate) use values::{command, file, filter, ids, just_ids, offers, pages, queues, running_first, signals, words};

/// A shell that asks, with this in its environment, is answered.
const VARIABLE: &str = "COMPLETE";

/// Whom qrm completes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

const SHELLS: [&dyn EnvCompleter; 3] = [&bash::Bash, &Zsh, &Fish];

/// Answers a shell that asks what comes next on a command line; whether one did.
pub(crate) fn answer() -> bool {
    let asked = std::env::var_os(VARIABLE).is_some_and(|name| SHELLS.iter().any(|shell| name == shell.name()));
    // Other programs may have a variable of this name for something else.
    asked && {
        let env = CompleteEnv::with_factory(crate::command).var(VARIABLE).shells(Shells(&SHELLS));
        let here = std::env::current_dir().ok();
        // A shell in the middle of a line has no place for an error.
        env.bin("qrm").completer("qrm").try_complete(std::env::args_os(), here.as_deref()).ok();
        true
    }
}

/// The words of the line that is completed, as the shell split it.
fn line() -> Vec<OsString> {
    std::env::args_os().skip_while(|word| word != "--").skip(1).collect()
}

/// Those of them that stand before the one that is completed.
fn before() -> Vec<OsString> {
    let mut words = line();
    let told = [bash::INDEX, "_CLAP_COMPLETE_INDEX"].into_iter().find_map(|name| std::env::var(name).ok());
    let index = told.and_then(|index| index.parse().ok()).unwrap_or(words.len().saturating_sub(1));
    words.truncate(index);
    words
}

/// What a shell reads to ask from then on.
pub(crate) fn registration(shell: Shell) -> std::io::Result<String> {
    let (completer, last): (&dyn EnvCompleter, _) = match shell {
        Shell::Bash => (&bash::Bash, ""),
        // As a file in fpath it is the body of the function that completes, and is run when that is first called.
        Shell::Zsh => (&Zsh, "\nif [[ $funcstack[1] == _qrm ]]; then\n    _clap_dynamic_completer_qrm \"$@\"\nfi\n"),
        Shell::Fish => (&Fish, ""),
    };
    let mut script = Vec::new();
    completer.write_registration(VARIABLE, "qrm", "qrm", "qrm", &mut script)?;
    Ok(String::from_utf8_lossy(&script).trim_start().to_owned() + last)
}
