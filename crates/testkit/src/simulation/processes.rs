//! Processes that each simulate once and print what they found as JSON.

use std::{
    collections::VecDeque,
    io,
    process::{Command, Output, Stdio},
    sync::{Mutex, PoisonError, mpsc},
};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Error;

/// How much of what a process that failed said is shown, in bytes.
const SAID: usize = 2_000;

/// How many processes can run at once.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does `work` on each item, on at most `jobs` at once, and gives `done` what comes of it, in the order in which it
/// comes.
pub(super) fn each<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    jobs: usize,
    work: impl Fn(T) -> Result<R, Error> + Sync,
    mut done: impl FnMut(R),
) -> Result<(), Error> {
    let waiting = Mutex::new(items.into_iter().collect::<VecDeque<_>>());
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop_front()
    };
    let (sender, results) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, work, next) = (sender.clone(), &work, &next);
            scope.spawn(move || {
                while let Some(item) = next() {
                    if sender.send(work(item)).is_err() {
                        break; // whoever asked has seen enough
                    }
                }
            });
        }
        drop(sender);
        for result in results {
            done(result?);
        }
        Ok(())
    })
}

/// Runs a process to its end.
pub(super) fn output(command: &mut Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).output()
}

/// What a process printed, read and as it is; or, in words, that it printed no report.
pub(super) fn reported<T: DeserializeOwned>(output: &Output) -> Result<(T, Value), String> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    match T::deserialize(&report) {
        Ok(read) => Ok((read, report)),
        Err(_) => {
            let said = &output.stderr[output.stderr.len().saturating_sub(SAID)..];
            let said = String::from_utf8_lossy(said);
            let (status, said) = (output.status, said.trim());
            Err(format!(
                "its process ended with {status} and no report: {said}"
            ))
        }
    }
}
