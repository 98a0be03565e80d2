//! What of a job can be meant, part by part, with an error that names what can not.
//! It refuses to know how the job was written.

use super::{
    JobSpec, MAX_COMMAND_BYTES, MAX_DEPENDENCIES, MAX_GRACE, MAX_LABELS, MAX_NAME_BYTES, MAX_OUTPUTS, MAX_PATH_BYTES,
    MAX_RETRIES, MAX_SCRIPT_BYTES, OWN_ENV,
};
use crate::error::Error;
use crate::job::files::unknown_expansion;
use crate::job::{DependsOn, MAX_VARIANTS, Stdin, Variant};

impl JobSpec {
    /// The job, if everything in it can be meant.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` that names the part, or `RESOURCE_EXHAUSTED` that names the bound.
    pub fn checked(mut self) -> Result<Self, Error> {
        // Said twice is said once, which also bounds the list.
        self.retry_on.sort_unstable();
        self.retry_on.dedup();
        // What takes away a value from defaults, or in a change, leaves none.
        self.comment = self.comment.filter(|comment| !comment.is_empty());
        self.min_run_ms = self.min_run_ms.filter(|time| time.0 > 0);
        self.io_weight = self.io_weight.filter(|limit| *limit > 0);
        self.open_files = self.open_files.filter(|limit| *limit > 0);
        self.pids = self.pids.filter(|pids| *pids > 0);
        self.disk_bytes = self.disk_bytes.filter(|disk| disk.0 > 0);
        self.time_limit_ms = self.time_limit_ms.filter(|limit| limit.0 > 0);
        self.queue_timeout_ms = self.queue_timeout_ms.filter(|timeout| timeout.0 > 0);
        self.labels.retain(|_, value| !value.is_empty());
        if self.command.first().is_none_or(|program| program.as_bytes().is_empty()) {
            return Err(
                Error::invalid("a job needs a command").hint("write it after --, as in: qrm submit -- sleep 10")
            );
        }
        bound("the command line", self.command.iter().map(|w| w.as_bytes().len() + 1).sum(), MAX_COMMAND_BYTES)?;
        for (what, text) in [("the validate command", &self.validate), ("the compile command", &self.compile)] {
            let Some(text) = text else { continue };
            bound(what, text.len(), MAX_COMMAND_BYTES)?;
            if text.is_empty() || text.contains('\0') {
                return Err(Error::invalid(format!("{what} is empty or holds a NUL byte")));
            }
        }
        for (what, text) in [("name", &self.name), ("comment", &self.comment), ("key", &self.key)] {
            let Some(text) = text else { continue };
            bound(&format!("the {what}"), text.len(), MAX_NAME_BYTES)?;
            if text.is_empty() || text.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the {what} is empty or holds control characters")));
            }
        }
        let dependencies = self.after.len() + self.after_ok.len() + self.after_fail.len() + self.after_start.len();
        bound("the list of dependencies", dependencies, MAX_DEPENDENCIES)?;
        bound("the number of retries", self.retries as usize, MAX_RETRIES as usize)?;
        if self.any && dependencies == 0 {
            return Err(Error::invalid("--any without a dependency")
                .hint("add --after, --after-ok, --after-fail or --after-start"));
        }
        if self.retries == 0 && !self.retry_on.is_empty() {
            return Err(Error::invalid("--retry-on without --retries").hint("add --retries N"));
        }
        self.check_limits()?;
        self.check_wishes()?;
        if self.chdir.as_ref().is_some_and(|dir| !dir.as_bytes().starts_with(b"/")) {
            return Err(Error::invalid("chdir is not an absolute path"));
        }
        bound("the path of chdir", self.chdir.as_ref().map_or(0, |dir| dir.as_bytes().len()), MAX_PATH_BYTES)?;
        if self.grace_ms.is_some_and(|grace| grace > MAX_GRACE) {
            return Err(Error::invalid(format!("a grace is at most {MAX_GRACE}")));
        }
        if let Some(name) = self.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
            return Err(Error::invalid(format!("'{}' can not be the name of a variable", name.replace('\0', "\\0"))));
        }
        if let Some(name) = self.env.keys().find(|name| OWN_ENV.contains(&name.as_str())) {
            return Err(Error::invalid(format!("{name} can not be set: it is what qrm tells a job of itself")));
        }
        let times = [
            ("a time limit", self.time_limit_ms),
            ("a queue timeout", self.queue_timeout_ms),
            ("a time to run before making room", self.min_run_ms),
        ];
        for (what, limit) in times {
            if limit.is_some_and(|limit| limit > crate::time::MAX_DURATION) {
                return Err(Error::invalid(format!("{what} is at most a hundred years")));
            }
        }
        self.check_files()?;
        self.check_labels()?;
        if self.array.is_some() && self.stdin == Stdin::Fifo {
            return Err(Error::invalid("the tasks of an array can not share one standard input"));
        }
        Ok(self)
    }

    fn check_files(&self) -> Result<(), Error> {
        if self.pty.is_some() && (self.stdin != Stdin::Null || self.stdout.is_some() || self.stderr.is_some()) {
            return Err(Error::invalid("a job with a terminal has it for all of its streams")
                .hint("leave out stdin, stdout and stderr, or the terminal (pty)"));
        }
        let stdin = if let Stdin::File(path) = &self.stdin { Some(path) } else { None };
        for (what, path) in [("stdin", stdin), ("stdout", self.stdout.as_ref()), ("stderr", self.stderr.as_ref())] {
            let Some(path) = path else { continue };
            bound(&format!("the path of {what}"), path.as_bytes().len(), MAX_PATH_BYTES)?;
            if path.as_bytes().is_empty() {
                return Err(Error::invalid(format!("the path of {what} is empty")));
            }
            if let Some(unknown) = unknown_expansion(path) {
                return Err(Error::invalid(format!("{what} '{}': {unknown} stands for nothing", path.lossy()))
                    .hint("%j is the job's id, %a the task's index, %n the name, %u the user, %% a percent sign"));
            }
        }
        bound("the number of output patterns", self.output.len(), MAX_OUTPUTS)?;
        for pattern in &self.output {
            bound("an output pattern", pattern.len(), MAX_PATH_BYTES)?;
            if pattern.is_empty() || pattern.contains('\0') {
                return Err(Error::invalid("an output pattern is empty or holds a NUL byte"));
            }
            if pattern.starts_with('/') || pattern.split('/').any(|part| part == "..") {
                return Err(Error::invalid(format!(
                    "output '{pattern}' leads out of the directory where the job runs"
                ))
                .hint("write a path below it, as in results/*.csv"));
            }
            glob::Pattern::new(pattern).map_err(|e| Error::invalid(format!("output '{pattern}': {e}")))?;
        }
        bound("the script", self.script.as_ref().map_or(0, String::len), MAX_SCRIPT_BYTES)?;
        match &self.script {
            Some(script) if script.is_empty() || script.contains('\0') => {
                Err(Error::invalid("the script is empty or holds a NUL byte"))
            }
            _ => Ok(()),
        }
    }

    fn check_labels(&self) -> Result<(), Error> {
        bound("the number of labels", self.labels.len(), MAX_LABELS)?;
        for (name, value) in &self.labels {
            bound("the name of a label", name.len(), MAX_NAME_BYTES)?;
            bound("the value of a label", value.len(), MAX_NAME_BYTES)?;
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
            if name.is_empty() || !name.chars().all(plain) {
                return Err(Error::invalid(format!("'{}' can not be the name of a label", name.escape_default()))
                    .hint("it has letters, digits, _, -, . and /"));
            }
            if value.chars().any(char::is_control) {
                return Err(Error::invalid(format!("the label {name} holds control characters")));
            }
        }
        Ok(())
    }

    /// What it wants beside others.
    fn check_wishes(&self) -> Result<(), Error> {
        bound("the list of alternatives", self.variants.len(), MAX_VARIANTS)?;
        if self.variants.contains(&Variant::default()) {
            return Err(Error::invalid("an alternative that names nothing")
                .hint("it says what differs, as --or '--cpus 1' does, or {\"cpus\": 1} in JSON"));
        }
        for variant in &self.variants {
            let like = Self {
                command: self.command.clone(),
                cpus: variant.cpus,
                mem_bytes: variant.mem_bytes,
                disk_bytes: variant.disk_bytes,
                time_limit_ms: variant.time_limit_ms,
                ..Self::default()
            };
            like.checked().map_err(|e| Error { message: format!("an alternative: {}", e.message), ..e })?;
        }
        let each = [&self.after, &self.after_ok, &self.after_fail, &self.after_start].into_iter().flatten();
        let mut each = each.filter(|on| matches!(on, DependsOn::Each(_)));
        if let (Some(on), None) = (each.next(), self.array) {
            let error = Error::invalid(format!("{on} means the task with the same index, and this job is no array"));
            return Err(error.hint(format!("write {} for all of it, or add --array", on.job())));
        }
        if let Some(deaf) = self.checkpoint_signal.filter(|signal| matches!(signal.number(), 9 | 19)) {
            return Err(Error::invalid(format!("{deaf} can not be heard, and so is no signal to save work"))
                .hint("write one that the command can handle, as --checkpoint-signal USR1"));
        }
        Ok(())
    }
}

fn bound(what: &str, is: usize, most: usize) -> Result<(), Error> {
    let message = format!("{what} is {is} long; the bound is {most}");
    if is > most { Err(Error::new(crate::error::Code::ResourceExhausted, message)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_said_aloud_is_nothing() {
        let aloud =
            r#"{"command":["true"],"time":"0","queue_timeout":"0s","min_run":"0","comment":"","labels":{"a":""}}"#;
        let spec: JobSpec = serde_json::from_str(aloud).unwrap();
        assert_eq!(spec, serde_json::from_str(r#"{"command":["true"]}"#).unwrap());
    }

    #[test]
    fn a_job_that_can_not_be_meant_is_refused_by_name() {
        for (json, says) in [
            (r#"{"command":[]}"#, "needs a command"),
            (r#"{"command":["true"],"tiem":"90s"}"#, "unknown field `tiem`"),
            (r#"{"command":["true"],"time":"90s","time_limit_ms":1}"#, "say the same thing"),
            (r#"{"command":["true"],"time_limit_ms":9223372036854775807}"#, "at most a hundred years"),
            (r#"{"command":["true"],"name":"a\u001b[31m"}"#, "control characters"),
            (r#"{"command":["true"],"any":true}"#, "without a dependency"),
            (r#"{"command":["true"],"priority":101}"#, "is not a priority"),
            (r#"{"command":["a\u0000b"]}"#, "NUL"),
            (r#"{"command":["true"],"cpus":-1}"#, "expected u32"),
            (r#"{"command":["true"],"checkpoint_signal":"KILL"}"#, "KILL can not be heard"),
            (r#"{"command":["true"],"checkpoint_signal":19}"#, "STOP can not be heard"),
            (r#"{"command":["true"],"after_ok":["12.*"]}"#, "this job is no array"),
            (r#"{"command":["true"],"or":[{}]}"#, "an alternative that names nothing"),
            (r#"{"command":["true"],"or":[{"time_limit_ms":9223372036854775807}]}"#, "an alternative: a time limit is"),
            (
                r#"{"command":["true"],"or":[{"cpus":1},{"cpus":2},{"cpus":3},{"cpus":4},{"cpus":5},{"cpus":6},{"cpus":7},{"cpus":8},{"cpus":9}]}"#,
                "the list of alternatives is 9 long; the bound is 8",
            ),
        ] {
            let error = serde_json::from_str::<JobSpec>(json).unwrap_err().to_string();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
