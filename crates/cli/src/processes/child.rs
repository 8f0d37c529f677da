//! One process: started, told to stop, and started again when it has ended by itself.

use std::{
    io,
    net::SocketAddr,
    path::PathBuf,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use outrigger::env;
use resilience::retry::Backoff;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    sync::oneshot,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::voice::Voice;

/// How long to wait before a process is started again.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};
/// One that ran for so long has failed for another reason than the last time.
const STEADY: Duration = Duration::from_secs(30);
/// How long the last words of a process that has ended are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is heard of a process.
pub(super) enum Word {
    /// It serves at this address, as the process of this id.
    Ready(SocketAddr, u32),
    /// It is no more; how it ended.
    Ended(String),
}

/// A process as it is to be.
pub(super) struct Kept {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) voice: Voice,
    /// How long it may take to stop before it is killed.
    pub(super) patience: Duration,
}

impl Kept {
    /// Runs it, again and again, until `stop`; then stops it gracefully.
    pub(super) async fn keep(self, stop: CancellationToken, tell: impl AsyncFn(Word)) {
        let mut failures = 0;
        loop {
            let begun = env::instant();
            let ended = self.run(&stop, &tell).await;
            if stop.is_cancelled() {
                return;
            }
            tell(Word::Ended(match ended {
                Ok(status) => format!("ended ({status})"),
                Err(error) => format!("could not be started ({error})"),
            }))
            .await;
            failures = if begun.elapsed() < STEADY {
                failures + 1
            } else {
                1
            };
            let chance = env::random().below(1000) as f64 / 1000.0;
            let pause = env::sleep(BACKOFF.wait(failures, chance));
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Runs it once.
    async fn run(
        &self,
        stop: &CancellationToken,
        tell: &impl AsyncFn(Word),
    ) -> io::Result<ExitStatus> {
        let mut process = self.start()?;
        // It is open for as long as this process lives: who reads its end is told to stop.
        let _lasting = process.stdin.take();
        let (said, ready) = oneshot::channel();
        let speaking = TaskTracker::new();
        if let Some(out) = process.stdout.take() {
            speaking.spawn(self.voice.clone().pass_until_ready(out, said));
        }
        if let Some(complaints) = process.stderr.take() {
            speaking.spawn(self.voice.clone().pass(complaints));
        }
        let id = process.id().unwrap_or_default();
        let hear = async {
            if let Ok(address) = ready.await {
                tell(Word::Ready(address, id)).await;
            }
            std::future::pending().await
        };
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => None,
            status = process.wait() => Some(status),
            never = hear => match never {},
        };
        let status = match ended {
            Some(status) => status?,
            None => self.stop(&mut process).await?,
        };
        speaking.close();
        // What the process has started itself may go on holding its outputs.
        _ = env::timeout(LAST_WORDS, speaking.wait()).await;
        Ok(status)
    }

    fn start(&self) -> io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C at the terminal is for this process, which stops the others in their order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    async fn stop(&self, process: &mut Child) -> io::Result<ExitStatus> {
        let id = process.id().and_then(|id| i32::try_from(id).ok());
        if let Some(id) = id.and_then(Pid::from_raw) {
            // It fails where the process has just ended.
            _ = kill_process(id, Signal::TERM);
        }
        if let Ok(ended) = env::timeout(self.patience, process.wait()).await {
            return ended;
        }
        process.kill().await?;
        process.wait().await
    }
}
