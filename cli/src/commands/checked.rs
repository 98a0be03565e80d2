//! What `qrmd --check` finds: whether a daemon could start with this configuration, and on this state.
//! It refuses to read either itself: the daemon's own program does.

use qrm_protocol::client::daemon_program;
use qrm_protocol::error::{Code, Error};
use qrm_protocol::method::Mistake;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// What it says.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Checked {
    /// The configuration file, if there is one.
    pub file: Option<String>,
    /// What of the configuration can not be meant.
    pub mistakes: Vec<Mistake>,
    /// Why no daemon could start although all of that is fine.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub error: Option<Error>,
}

/// Has it look; without a state or a file at those that a daemon would have.
///
/// # Errors
/// The program is not there, or says why it did not look.
pub(super) fn checked(state: Option<&Path>, file: Option<&Path>) -> Result<Checked, Error> {
    let program = daemon_program();
    let failed = |why: &dyn std::fmt::Display| Error::new(Code::NoDaemon, format!("{}: {why}", program.display()));
    let mut command = Command::new(&program);
    command.args(["--check", "--json"]).stdin(Stdio::null());
    state.map(|dir| command.arg("--state").arg(dir));
    file.map(|file| command.arg("--config").arg(file));
    let output = command.output().map_err(|e| failed(&e))?;
    let mut checked: Checked = match serde_json::from_slice(&output.stdout) {
        Ok(checked) => checked,
        Err(_) => return Err(refusal(&output).unwrap_or_else(|| failed(&output.status))),
    };
    if checked.mistakes.is_empty() && !output.status.success() {
        checked.error = Some(refusal(&output).unwrap_or_else(|| failed(&output.status)));
    }
    Ok(checked)
}

/// Why it fails, in its words.
fn refusal(output: &Output) -> Option<Error> {
    let said = String::from_utf8_lossy(&output.stderr);
    let message = said.lines().find_map(|line| line.strip_prefix("qrmd: "))?;
    let wrong = output.status.code() == Some(Code::InvalidArgument.exit_code().into());
    let error = Error::new(if wrong { Code::InvalidArgument } else { Code::Unavailable }, message);
    Some(match said.lines().find_map(|line| line.trim_start().strip_prefix("hint: ")) {
        Some(hint) => error.hint(hint),
        None => error,
    })
}
