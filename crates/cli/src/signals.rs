//! Waiting to be told to stop.

use tokio::signal::unix::{SignalKind, signal};

/// Resolves at Ctrl-C or SIGTERM; at once if signals cannot be listened for.
pub(crate) async fn stop_requested() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
