//! Waiting to be told to stop.

use std::os::fd::AsFd;

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::Receiver,
    signal::unix::{SignalKind, signal},
};

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

/// Resolves when the process that started this one is gone, whose standard input comes from it; never if it does not.
pub(crate) async fn parent_gone() {
    let input = std::io::stdin().as_fd().try_clone_to_owned();
    let Ok(mut input) = input.and_then(Receiver::from_owned_fd) else {
        return std::future::pending().await;
    };
    let mut nothing = [0; 64];
    while input.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}
