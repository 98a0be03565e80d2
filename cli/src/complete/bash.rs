//! How bash asks and is answered: it splits `state=queued` into three words and wants back only what follows the `=`.
//! It refuses to know what is completed.

use clap_complete::engine::complete;
use clap_complete::env::EnvCompleter;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

/// Takes the place of clap's own, which loses what stands before a `=`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bash;

/// Which of the words is completed, from 0.
pub(super) const INDEX: &str = "_QRM_COMPLETE_INDEX";

const SCRIPT: &str = r#"_qrm() {
    local words=("${COMP_WORDS[@]}")
    # Only what stands before the cursor counts; of a word that is nothing but = or :, $2 has nothing.
    [[ ${words[COMP_CWORD]} == [=:]* ]] || words[COMP_CWORD]=$2
    mapfile -t COMPREPLY < <(VARIABLE=bash INDEX=$COMP_CWORD COMPLETER -- "${words[@]}" 2>/dev/null)
    if [[ ${COMPREPLY-} == *[=/] ]]; then
        compopt -o nospace
    fi
}
complete -o bashdefault -o nosort -F _qrm BIN 2>/dev/null || complete -o bashdefault -F _qrm BIN
"#;

impl EnvCompleter for Bash {
    fn name(&self) -> &'static str {
        "bash"
    }

    fn is(&self, name: &str) -> bool {
        name == "bash"
    }

    fn write_registration(
        &self,
        var: &str,
        _name: &str,
        bin: &str,
        completer: &str,
        to: &mut dyn Write,
    ) -> std::io::Result<()> {
        let script = SCRIPT.replace("INDEX", INDEX).replace("VARIABLE", var);
        to.write_all(script.replace("BIN", bin).replace("COMPLETER", completer).as_bytes())
    }

    fn write_complete(
        &self,
        command: &mut clap::Command,
        args: Vec<OsString>,
        here: Option<&Path>,
        to: &mut dyn Write,
    ) -> std::io::Result<()> {
        let index = std::env::var(INDEX).ok().and_then(|index| index.parse().ok()).unwrap_or(args.len() - 1);
        let line = joined(&args, index);
        let empty = line.words.get(line.index).is_none_or(|word| word.is_empty());
        let mut all = complete(command, line.words, line.index, here)?;
        // Options are for who begins one, unless there is nothing else.
        let is_option = |value: &OsStr| value.as_bytes().starts_with(b"-");
        if empty && all.iter().any(|candidate| !is_option(candidate.get_value())) {
            all.retain(|candidate| !is_option(candidate.get_value()));
        }
        for candidate in all {
            let value = candidate.get_value().as_bytes();
            to.write_all(&escaped(value.get(line.cut..).unwrap_or_default()))?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// A line as it was typed.
#[derive(Debug, PartialEq, Eq)]
struct Line {
    words: Vec<OsString>,
    /// Which is completed.
    index: usize,
    /// So many bytes of it are before where bash splits it.
    cut: usize,
}

/// Puts together again what bash split at `=` and `:`.
fn joined(args: &[OsString], index: usize) -> Line {
    let splits = |word: &OsString| !word.is_empty() && word.as_bytes().iter().all(|byte| b"=:".contains(byte));
    let mut line = Line { words: Vec::new(), index: 0, cut: 0 };
    for (at, word) in args.iter().enumerate() {
        // An empty word after a = is one of its own.
        let goes_on = at > 0 && (splits(word) || splits(&args[at - 1]) && !word.is_empty());
        let before = match line.words.last_mut().filter(|_| goes_on) {
            Some(last) => {
                let before = last.len();
                last.push(word);
                before
            }
            None => {
                line.words.push(word.clone());
                0
            }
        };
        if at == index {
            line.index = line.words.len() - 1;
            line.cut = if splits(word) { before + word.len() } else { before };
        }
    }
    // zsh and fish complete an empty word that is not there yet; bash has it among its words.
    if index >= args.len() {
        line.words.push(OsString::new());
        line.index = line.words.len() - 1;
    }
    line
}

/// As one would type it: bash puts it into the line as it is.
fn escaped(value: &[u8]) -> Vec<u8> {
    let plain = |byte: u8| !byte.is_ascii() || byte.is_ascii_alphanumeric() || b"-_=+./:,@%^~".contains(&byte);
    let escape = |byte: &u8| if plain(*byte) { vec![*byte] } else { vec![b'\\', *byte] };
    OsString::from_vec(value.iter().flat_map(escape).collect()).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bash_split_is_put_together_and_cut_where_it_split() {
        for (split, index, words, at, cut) in [
            (&["qrm", "jobs", "state", "=", "ex"][..], 4, &["qrm", "jobs", "state=ex"][..], 2, 6),
            (&["qrm", "jobs", "state", "="], 3, &["qrm", "jobs", "state="], 2, 6),
            (&["qrm", "jobs", "state", "=", "live", ""], 5, &["qrm", "jobs", "state=live", ""], 3, 0),
            (&["qrm", "jobs", "state", "=", ""], 4, &["qrm", "jobs", "state=", ""], 3, 0),
            (&["qrm", "submit", "--after", "=", "1", "x"], 4, &["qrm", "submit", "--after=1", "x"], 2, 8),
            (&["qrm", "can"], 1, &["qrm", "can"], 1, 0),
            (&["qrm"], 1, &["qrm", ""], 1, 0),
        ] {
            let split: Vec<OsString> = split.iter().map(Into::into).collect();
            let words = words.iter().map(Into::into).collect();
            assert_eq!(joined(&split, index), Line { words, index: at, cut }, "{split:?}");
        }
    }

    #[test]
    fn what_a_shell_would_read_is_escaped() {
        for (value, typed) in [("12.3", "12.3"), ("a b/", r"a\ b/"), ("$(x)", r"\$\(x\)"), ("žluť", "žluť")] {
            assert_eq!(String::from_utf8(escaped(value.as_bytes())).unwrap(), typed);
        }
    }
}
