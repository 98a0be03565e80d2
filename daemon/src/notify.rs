//! What a service manager is told of the daemon, in the words of sd_notify(3).
//! It refuses to depend on being heard: most daemons have nobody who listens.

use sd_notify::NotifyState;

/// The variable that says where a manager listens; for this process alone, and none that it starts.
pub(crate) const SOCKET: &str = "NOTIFY_SOCKET";

/// Whether somebody started this process who wants to know how it is, and so looks after it.
pub(crate) fn is_managed() -> bool {
    std::env::var_os(SOCKET).is_some_and(|place| !place.is_empty())
}

/// It answers, now or again.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::MainPid(std::process::id()), NotifyState::Status(&line(status))]);
}

/// It reads its configuration again, or is replaced; that it is ready comes next.
pub(crate) fn reloading(status: &str) {
    match NotifyState::monotonic_usec_now() {
        // A manager of today wants to know when; it takes it for a failure if nobody says.
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status(&line(status))]),
        Err(error) => tracing::warn!(%error, "the service manager is not told of the reload"),
    }
}

/// It ends.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("ends; jobs go on")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager is not told");
    }
}

/// One line: another one would be another message.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
