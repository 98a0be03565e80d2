//! Slurm's variables that a script reads, of which a job here has others or none.
//! It refuses to look at options.

use super::Warning;

/// What a job here has of what Slurm would tell it.
const VARIABLES: &[(&str, &str)] = &[
    ("SLURM_JOB_ID", "QRM_JOB_ID"),
    ("SLURM_JOBID", "QRM_JOB_ID"),
    ("SLURM_ARRAY_TASK_ID", "QRM_ARRAY_INDEX"),
    ("SLURM_RESTART_COUNT", "QRM_ATTEMPT - 1"),
];

/// More than so many variables are not named.
const MAX_VARIABLES: usize = 16;

/// Slurm's variables that a script reads, each where it does so first, and what they are called here.
pub(in crate::commands::submit) fn variables(text: &str) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for (at, _) in text.match_indices("SLURM_") {
        let rest = &text[at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        let before = text[..at].chars().next_back();
        if names.contains(&name) || before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        names.push(name);
        let here = VARIABLES.iter().find(|(theirs, _)| *theirs == name).map(|(_, ours)| *ours);
        let here = here.map(|ours| format!("; it is {ours} here")).unwrap_or_default();
        found.push(Warning { what: format!("{name} is not set{here}"), span: at..at + end });
        if names.len() == MAX_VARIABLES {
            break;
        }
    }
    found
}
