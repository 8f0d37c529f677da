//! A process of the shop's binary: started until it is ready, and told to stop.

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use outrigger::env::{self, BoxError};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, ChildStdout, Command},
};

/// How long a process may take to be ready, and to stop: more than the shop's own limit.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the [module](self). It dies with this.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    /// A process that says something to nobody would be killed by it.
    _out: BufReader<ChildStdout>,
}

/// How a process is started, again and again.
#[derive(Clone)]
pub(crate) struct Start {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(&'static str, &'static str)>,
    pub(crate) log: PathBuf,
}

impl Start {
    /// Starts it, and waits until it says that it is ready.
    pub(crate) async fn start(&self) -> Result<Process, BoxError> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .envs(self.variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.program.display()))?;
        let out = child.stdout.take().ok_or("it has no standard output")?;
        let (mut out, mut line) = (BufReader::new(out), String::new());
        env::timeout(PATIENCE, out.read_line(&mut line)).await??;
        let ready: Value = serde_json::from_str(&line)
            .map_err(|_| format!("{:?} did not become ready", self.arguments))?;
        let address = ready["address"].as_str().ok_or("it has no address")?;
        Ok(Process {
            child,
            address: address.trim_start_matches("http://").parse()?,
            _out: out,
        })
    }

    /// The folder of the log.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

impl Process {
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGTERM: it stops gracefully, and with success.
    pub(crate) async fn stop(mut self) -> Result<(), BoxError> {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok());
        let id = id.and_then(Pid::from_raw).ok_or("it has ended before")?;
        kill_process(id, Signal::TERM)?;
        let ended = env::timeout(PATIENCE, self.child.wait()).await??;
        if ended.success() {
            Ok(())
        } else {
            Err(format!("it ended with {ended}").into())
        }
    }
}
