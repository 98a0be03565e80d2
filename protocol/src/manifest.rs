//! The list of what a job left: the file `meta.json` in its directory. It refuses to look at the files.

use crate::ids::JobRef;
use crate::text::OsText;
use serde::{Deserialize, Serialize};

/// The manifest's name in the directory of a job.
pub const MANIFEST_NAME: &str = "meta.json";
/// The name there of what a job says its result is.
pub const RESULTS_NAME: &str = "results.json";
/// The most files of one manifest.
pub const MAX_FILES: usize = 10_000;

/// What matched a job's `--output` when its processes were gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The job or task.
    pub job: JobRef,
    /// Which attempt left it.
    pub attempt: u32,
    /// The files, by path.
    pub outputs: Vec<OutputFile>,
    /// There were more than [`MAX_FILES`].
    pub truncated: bool,
}

/// A regular file; a symbolic link is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputFile {
    /// From the directory where the job ran.
    pub path: OsText,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
}
