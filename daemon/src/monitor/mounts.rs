//! How full file systems are. One of the network may not answer, for ever: nobody waits for that longer than a moment.
//! It refuses to choose them: they are what the configuration names.

use qrm_protocol::sample::MountView;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a file system may take to answer: a disk takes some microseconds, a network some milliseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// Those that have not answered yet; each has a thread that waits in the kernel, and gets no second one. A lock, because
/// these threads and who asks meet nowhere else.
#[derive(Clone, Default)]
pub(super) struct Mounts(Arc<Mutex<BTreeSet<PathBuf>>>);

impl Mounts {
    /// Each of these, as it is now.
    pub async fn look(&self, paths: &[PathBuf]) -> Vec<MountView> {
        let asked: Vec<_> = paths.iter().map(|path| (path, self.ask(path))).collect();
        let until = tokio::time::Instant::now() + PATIENCE;
        let mut views = Vec::new();
        for (path, answer) in asked {
            let answer = match answer {
                Ok(answer) => tokio::time::timeout_at(until, answer).await,
                Err(why) => Ok(Ok(Err(why))),
            };
            let view = match answer {
                Ok(Ok(Ok(sizes))) => Ok(sizes),
                Ok(Ok(Err(why))) => Err(why),
                Ok(Err(_)) | Err(_) => Err(SILENT.to_owned()),
            };
            views.push(shown(path, view));
        }
        views
    }

    fn ask(&self, path: &Path) -> Result<oneshot::Receiver<Result<Sizes, String>>, String> {
        let mut busy = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(path.to_owned()) {
            return Err(SILENT.to_owned());
        }
        drop(busy);
        let (tell, told) = oneshot::channel();
        let (all, own) = (self.0.clone(), path.to_owned());
        let asking = std::thread::Builder::new().name("mount".to_owned()).spawn(move || {
            let sizes = Sizes::of(&own);
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
            if tell.send(sizes).is_err() {
                tracing::warn!(path = %own.display(), "a file system has answered too late");
            }
        });
        asking.map(|_| told).map_err(|error| {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
            error.to_string()
        })
    }
}

const SILENT: &str = "it does not answer";

/// In bytes.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    total: u64,
    used: u64,
    available: u64,
}

impl Sizes {
    /// statvfs(3).
    fn of(path: &Path) -> Result<Self, String> {
        let said = rustix::fs::statvfs(path).map_err(|error| std::io::Error::from(error).to_string())?;
        let bytes = |blocks: u64| blocks.saturating_mul(said.f_frsize);
        Ok(Self {
            total: bytes(said.f_blocks),
            used: bytes(said.f_blocks.saturating_sub(said.f_bfree)),
            available: bytes(said.f_bavail),
        })
    }
}

fn shown(path: &Path, sizes: Result<Sizes, String>) -> MountView {
    let sizes = sizes.map_err(|error| match error.find(" (os error ") {
        Some(end) => error[..end].to_owned(),
        None => error,
    });
    MountView {
        path: path.display().to_string(),
        total_bytes: sizes.as_ref().ok().map(|sizes| sizes.total),
        used_bytes: sizes.as_ref().ok().map(|sizes| sizes.used),
        available_bytes: sizes.as_ref().ok().map(|sizes| sizes.available),
        error: sizes.err(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_has_not_answered_is_not_asked_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mounts = Mounts::default();
        let paths = ["/", "/nowhere/at/all"].map(PathBuf::from);
        let views = runtime.block_on(mounts.look(&paths));
        assert!(views[0].error.is_none() && views[0].total_bytes > Some(0), "{views:?}");
        assert!(views[0].used_bytes <= views[0].total_bytes);
        assert_eq!((views[1].error.as_deref(), views[1].total_bytes), (Some("No such file or directory"), None));
        mounts.0.lock().unwrap().insert("/".into());
        let views = runtime.block_on(mounts.look(&paths[..1]));
        assert_eq!(views[0].error.as_deref(), Some(SILENT));
    }
}
