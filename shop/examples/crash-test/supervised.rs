//! A process that is started again whenever it ends, as an operating system or a cluster does it.

use std::{
    fs::File,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use outrigger::env::{self, BoxError};
use tokio::{
    process::{Child, Command},
    sync::{mpsc, oneshot},
};

/// How long it is waited before what has ended by itself is started again.
const PAUSE: Duration = Duration::from_millis(500);

/// How a process is started.
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Where what it says on standard error goes.
    pub(crate) log: PathBuf,
}

impl Start {
    fn spawn(&self) -> Result<Child, std::io::Error> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
    }
}

/// See the [module](self). The process ends with this.
pub(crate) struct Supervised {
    outages: mpsc::Sender<Outage>,
    gave_up: Arc<AtomicU64>,
}

/// The process is to be away.
struct Outage {
    during: Duration,
    over: oneshot::Sender<()>,
}

impl Supervised {
    pub(crate) fn start(start: Start) -> Self {
        let (outages, orders) = mpsc::channel(1);
        let gave_up = Arc::<AtomicU64>::default();
        tokio::spawn(supervise(start, orders, Arc::clone(&gave_up)));
        Self { outages, gave_up }
    }

    /// Kills it with SIGKILL, and starts it again after so long; returns then.
    pub(crate) async fn kill(&self, during: Duration) -> Result<(), BoxError> {
        let (over, is_over) = oneshot::channel();
        self.outages.send(Outage { during, over }).await?;
        Ok(is_over.await?)
    }

    /// How often it ended by itself.
    pub(crate) fn gave_up(&self) -> u64 {
        self.gave_up.load(Ordering::Relaxed)
    }
}

async fn supervise(start: Start, mut outages: mpsc::Receiver<Outage>, gave_up: Arc<AtomicU64>) {
    let mut over: Option<oneshot::Sender<()>> = None;
    loop {
        let mut process = match start.spawn() {
            Ok(process) => process,
            Err(error) => {
                eprintln!("cannot start {}: {error}", start.program.display());
                return;
            }
        };
        // Whoever waited for it may have gone.
        over.take().map(|over| over.send(()));
        tokio::select! {
            _ = process.wait() => {
                gave_up.fetch_add(1, Ordering::Relaxed);
                env::sleep(PAUSE).await;
            }
            outage = outages.recv() => {
                // It may have ended by itself.
                _ = process.kill().await;
                let Some(outage) = outage else { return };
                env::sleep(outage.during).await;
                over = Some(outage.over);
            }
        }
    }
}
