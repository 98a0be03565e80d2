//! What a job leaves: the files that match its patterns, with size and hash, listed in `meta.json` in its directory.
//! It runs as a process of the job and refuses to know the daemon.

use qrm_protocol::error::{Code, Error};
use qrm_protocol::manifest::{MANIFEST_NAME, MAX_FILES, Manifest, OutputFile};
use qrm_protocol::text::OsText;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the shim asks for it: `qrmd --collect DIR JOB ATTEMPT PATTERN…`, in the job's working directory.
pub const FLAG: &str = "--collect";

/// Does it, with what follows the flag.
///
/// # Errors
/// The arguments are not those, a file can not be read, or the list can not be written.
pub fn run(args: &[OsString]) -> Result<(), Error> {
    let wrong = || Error::invalid(format!("{FLAG} takes a directory, a job, an attempt and patterns"));
    let [dir, job, attempt, patterns @ ..] = args else { return Err(wrong()) };
    let job = job.to_str().and_then(|job| job.parse().ok()).ok_or_else(wrong)?;
    let attempt = attempt.to_str().and_then(|attempt| attempt.parse().ok()).ok_or_else(wrong)?;
    let mut found = BTreeSet::new();
    for pattern in patterns {
        find(pattern.to_str().ok_or_else(wrong)?, &mut found)?;
    }
    let truncated = found.len() > MAX_FILES;
    let mut outputs = Vec::new();
    for path in found.iter().take(MAX_FILES) {
        outputs.extend(look(path).map_err(|e| Error::new(Code::Unavailable, format!("{}: {e}", path.display())))?);
    }
    let manifest = Manifest { job, attempt, outputs, truncated };
    write(Path::new(dir), &manifest).map_err(|e| Error::new(Code::Unavailable, format!("{MANIFEST_NAME}: {e}")))
}

/// One more than are listed is enough to know that there are more.
fn find(pattern: &str, found: &mut BTreeSet<PathBuf>) -> Result<(), Error> {
    let options =
        glob::MatchOptions { require_literal_separator: true, require_literal_leading_dot: true, ..Default::default() };
    let paths = glob::glob_with(pattern, options)
        .map_err(|e| Error::invalid(format!("the pattern '{pattern}' is not understood: {e}")))?;
    // What can not be looked into holds nothing that the job's user could read.
    for path in paths.filter_map(Result::ok) {
        if found.len() > MAX_FILES {
            return Ok(());
        }
        found.insert(path);
    }
    Ok(())
}

/// A regular file's size and hash; nothing of what is none, or is gone by now.
fn look(path: &Path) -> std::io::Result<Option<OutputFile>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = match open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::LOOP | rustix::io::Errno::NOENT | rustix::io::Errno::NXIO) => return Ok(None),
        opened => opened?,
    };
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let (mut file, mut hash, mut buffer, mut size_bytes) = (File::from(file), Sha256::new(), vec![0; 1 << 17], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            n => {
                hash.update(&buffer[..n]);
                size_bytes += n as u64;
            }
        }
    }
    let sha256 = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    let path = OsText::new(path.as_os_str().as_bytes()).map_err(std::io::Error::other)?;
    Ok(Some(OutputFile { path, size_bytes, sha256 }))
}

/// Whoever reads it finds all of it, or none.
fn write(dir: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    let mut file = tempfile(dir)?;
    file.1.write_all(&text)?;
    std::fs::rename(&file.0, dir.join(MANIFEST_NAME))
}

fn tempfile(dir: &Path) -> std::io::Result<(PathBuf, File)> {
    let path = dir.join(format!(".{MANIFEST_NAME}"));
    std::fs::remove_file(&path).or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    let file = File::options().write(true).create_new(true).open(&path)?;
    Ok((path, file))
}
