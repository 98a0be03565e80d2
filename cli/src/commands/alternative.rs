//! `--or '--cpus 2 --mem 8G'`: the options of an alternative, in one word.
//! It refuses to know the job that it is one of.

use super::wants::count;
use super::wishes::either;
use crate::as_error;
use clap::Parser;
use qrm_protocol::amount::Bytes;
use qrm_protocol::job::Variant;
use qrm_protocol::time::Millis;

/// What can stand in it.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Alternative {
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = count)]
    cpus: Option<u32>,
    #[arg(long, value_name = "SIZE")]
    mem: Option<Bytes>,
    #[arg(long, value_name = "SIZE")]
    disk: Option<Bytes>,
    #[arg(long, value_name = "DURATION")]
    time: Option<Millis>,
    #[arg(long, overrides_with = "shared")]
    exclusive: bool,
    #[arg(long, overrides_with = "exclusive")]
    shared: bool,
}

/// What works, for every error.
const WORKS: &str = "an alternative is one word, as --or '--cpus 2 --mem 8G', of --cpus, --mem, --disk, --time, \
                     --exclusive and --shared";

/// The alternative that a text means.
///
/// # Errors
/// What is wrong with it, and what works.
pub(super) fn alternative(text: &str) -> Result<Variant, String> {
    let words = shlex::split(text).ok_or_else(|| format!("it ends within quotes or after a backslash; {WORKS}"))?;
    if words.is_empty() {
        return Err(format!("it says nothing; {WORKS}"));
    }
    let Alternative { cpus, mem, disk, time, exclusive, shared } = Alternative::try_parse_from(words).map_err(|e| {
        // What follows is about the command line, which this is not.
        let why = as_error(&e);
        let near = why.hint.as_deref().and_then(|hint| hint.strip_prefix("tip: "));
        let near = near.filter(|tip| tip.contains("similar")).map(|tip| format!(" ({tip})")).unwrap_or_default();
        format!("{}{near}; {WORKS}", why.message)
    })?;
    Ok(Variant { cpus, mem_bytes: mem, disk_bytes: disk, time_limit_ms: time, exclusive: either(exclusive, shared) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alternative_is_a_line_of_options() {
        let gib = |n: u64| Some(Bytes(n << 30));
        for (text, variant) in [
            ("--cpus 2", Variant { cpus: Some(2), ..Variant::default() }),
            (
                "--cpus=2 --mem '8G' --disk 1G",
                Variant { cpus: Some(2), mem_bytes: gib(8), disk_bytes: gib(1), ..Variant::default() },
            ),
            (
                " --time 90m  --shared ",
                Variant { time_limit_ms: Some(Millis(5_400_000)), exclusive: Some(false), ..Variant::default() },
            ),
            ("--shared --exclusive", Variant { exclusive: Some(true), ..Variant::default() }),
        ] {
            assert_eq!(alternative(text), Ok(variant), "{text}");
        }
    }

    #[test]
    fn what_is_none_says_what_works() {
        for (text, says) in [
            ("", "it says nothing"),
            ("--cpus '2", "ends within quotes"),
            ("--cpus", "a value is required for '--cpus <N>'"),
            ("--cpus x", "invalid value 'x' for '--cpus <N>'"),
            ("--cpus -1", "'-1' is not a whole number from 0"),
            ("--cpu 2", "unexpected argument '--cpu' found (a similar argument exists: '--cpus')"),
            ("--gpus 2", "unexpected argument '--gpus'"),
            ("16", "unexpected argument '16' found"),
            ("--cpus 2 --cpus 3", "cannot be used multiple times"),
        ] {
            let error = alternative(text).unwrap_err();
            assert!(error.contains(says) && error.ends_with(WORKS), "{text}: {error}");
        }
    }
}
