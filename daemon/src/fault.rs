//! Points at which a test can have the daemon killed, to see what is left.
//! Without the feature `testing` there is nothing here.

/// Every point, in the order in which a job's launch and its end pass it, and what has happened by then.
#[cfg(feature = "testing")]
pub const POINTS: &[(&str, &str)] = &[
    ("qrmd.1", "a start was decided; nothing of it is written"),
    ("qrmd.2", "it is written, and not committed; no process was ordered"),
    ("qrmd.3", "its process was ordered; before the commit"),
    ("qrmd.4", "after the commit; before the release is ordered"),
    ("qrmd.5", "the release is ordered; before the reply"),
    ("qrmd.6", "after the reply"),
    ("qrmd.7", "the job's directory is made"),
    ("qrmd.8", "its control group is made"),
    ("qrmd.9", "its shim is there, and nobody watches it"),
    ("qrmd.10", "before the shim is told to go"),
    ("qrmd.11", "after it was told"),
    ("qrmd.12", "the shim has said that the command is released"),
    ("qrmd.13", "the record of the start is read; before that is reported"),
    ("qrmd.14", "the shim has ended; its record is not read"),
    ("qrmd.15", "the record is read; the control group is still there"),
    ("qrmd.16", "the group is gone; before the end is reported"),
    ("qrmd.17", "the end is reported"),
    ("qrmd.18", "an end was decided; nothing of it is written"),
    ("qrmd.19", "it is written, and not committed"),
    ("qrmd.20", "before the commit"),
    ("qrmd.21", "after the commit; before what is left is ordered to go"),
    ("qrmd.22", "that is ordered; before those who wait are told"),
    ("qrmd.23", "after they were told"),
    ("qrmd.24", "before the empty logs and the directory of the job are removed"),
    ("qrmd.25", "nothing of the run is left"),
];

/// The points that a daemon passes when it finds a run of before.
#[cfg(feature = "testing")]
pub const FOUND: &[(&str, &str)] = &[
    ("qrmd.26", "a run of before is to be found; nothing was looked at"),
    ("qrmd.27", "it is known what became of it"),
    ("qrmd.28", "what is owed was ordered; before the first tick"),
];

/// Kills this process if `QRM_FAULT` names this point; it may name several, separated by commas.
#[cfg(feature = "testing")]
pub(crate) fn point(name: &str) {
    static WANTED: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| std::env::var("QRM_FAULT").unwrap_or_default());
    if WANTED.split(',').any(|wanted| wanted == name) {
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::KILL).ok();
        loop {
            std::thread::park();
        }
    }
}

/// The same, where many things pass and only some are meant.
#[inline(always)]
pub(crate) fn point_if(meant: bool, name: &str) {
    if meant {
        point(name);
    }
}

/// Nothing.
#[cfg(not(feature = "testing"))]
#[inline(always)]
pub(crate) fn point(_name: &str) {}
