//! The daemon's own log: to the terminal in the foreground, else to a file that is bounded.
//! It refuses to hold what jobs are: ids and errors, never commands and environments.

use qrm_protocol::error::{Code, Error};
use qrm_protocol::place::LOG_NAME;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;

/// A log of this length becomes the old one, of which there is one.
const LONGEST: u64 = 4 << 20;

/// Begins to log.
///
/// # Errors
/// The file can not be written.
pub fn start(state: &Path, foreground: bool) -> Result<(), Error> {
    let wanted = std::env::var("QRM_LOG").ok().and_then(|word| word.parse().ok());
    let log = tracing_subscriber::fmt().with_max_level(wanted.unwrap_or(LevelFilter::INFO)).with_target(false);
    if foreground {
        log.with_writer(io::stderr).init();
        return Ok(());
    }
    let path = state.join(LOG_NAME);
    let file = BoundedFile::open(path.clone());
    let file =
        file.map_err(|e| Error::new(Code::Unavailable, format!("the log {} can not be written: {e}", path.display())))?;
    log.with_ansi(false).with_writer(Mutex::new(file)).init();
    Ok(())
}

struct BoundedFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl BoundedFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let flags = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
        let file = File::options().append(true).create(true).mode(0o600).custom_flags(flags).open(&path)?;
        let length = file.metadata()?.len();
        Ok(Self { path, file, length })
    }
}

impl Write for BoundedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length > LONGEST {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *self = Self::open(self.path.clone())?;
        }
        let written = self.file.write(bytes)?;
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
