//! `qrmd --check`: whether a daemon could start with this configuration, and on this state.
//! It refuses to start one, and writes nothing.

use crate::config::{Sources, refusal};
use crate::store;
use qrm_protocol::error::Error;
use qrm_protocol::method::Mistake;
use std::fmt::Write as _;
use std::io::Write;
use std::path::Path;

/// Says what can not be meant on standard output: as JSON if `json`, else for people.
///
/// # Errors
/// The first of them, or that the store there can not be read by this release.
pub fn check(sources: &Sources, state: Option<&Path>, json: bool) -> Result<(), Error> {
    let env = |name: &str| std::env::var_os(name);
    let file = sources.config_file(&env);
    let there =
        file.as_ref().filter(|file| file.named || file.path.exists()).map(|file| file.path.display().to_string());
    let mistakes = sources.load(&env).err().unwrap_or_default();
    let text = match json {
        true => serde_json::json!({ "file": there, "mistakes": mistakes }).to_string() + "\n",
        false if mistakes.is_empty() => match &there {
            Some(path) => format!("{path} is fine\n"),
            None => "there is no configuration file, and all is as it is built in\n".to_owned(),
        },
        false => mistakes.iter().map(shown).collect(),
    };
    if let Err(error) = std::io::stdout().write_all(text.as_bytes()) {
        tracing::debug!(%error, "nobody listens");
    }
    if !mistakes.is_empty() {
        return Err(refusal(&mistakes));
    }
    state.map_or(Ok(()), |dir| store::is_readable(dir).map_err(|error| error.refusal()))
}

/// A mistake with its line, and what would work.
fn shown(mistake: &Mistake) -> String {
    let mut text = format!("{}\n", mistake.message);
    if let (Some(line), Some(column), Some(source)) = (mistake.line, mistake.column, &mistake.text) {
        let plain: String = source.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let indent = " ".repeat(usize::try_from(column).unwrap_or(1).saturating_sub(1));
        // Writing into a text does not fail.
        write!(text, "{line:>5} | {plain}\n      | {indent}^\n").ok();
    }
    if let Some(hint) = &mistake.hint {
        writeln!(text, "  hint: {hint}").ok();
    }
    text
}
