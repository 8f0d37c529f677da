//! A process of the shop's binary, and what it says.

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Output, Stdio},
};

use outrigger::GatewayClient;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A process that has said that it is ready. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said when it was ready.
    pub(crate) ready: Value,
}

/// The verb `arguments` on the data in `folder`.
pub(crate) fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command
        .args(arguments)
        .arg("--data")
        .arg(folder)
        .arg("--config")
        .arg(folder.join("outrigger.toml"))
        .args(["--output", "json"]);
    command
}

/// What a verb that ends says.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = command(folder, arguments).output();
    output.expect("the binary runs")
}

/// The same, as JSON, of a verb that succeeds.
pub(crate) fn json(folder: &Path, arguments: &[&str]) -> Value {
    let output = run(folder, arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

impl Process {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut child = command(folder, arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        out.read_line(&mut line).expect("a line");
        let ready = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{arguments:?}: {line}"));
        Self { child, out, ready }
    }

    /// The address that it said under `name`.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let url = self.ready[name].as_str().expect(name);
        url.trim_start_matches("http://")
            .parse()
            .expect("an address")
    }

    /// A customer at its gateway, whose address it said under `name`.
    pub(crate) fn customer(&self, name: &str) -> GatewayClient {
        GatewayClient::new(self.address(name))
    }

    /// SIGTERM: it stops gracefully. Returns how it ended, and what else it said.
    pub(crate) fn stop(mut self) -> (ExitStatus, String) {
        kill_process(pid(self.child.id()), Signal::TERM).expect("it runs");
        let mut said = String::new();
        self.out.read_to_string(&mut said).expect("text");
        (self.child.wait().expect("it ended"), said)
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A process that is not ready yet. Dropped, it is killed.
pub(crate) struct Waiting {
    child: Child,
    out: BufReader<ChildStdout>,
    complaints: BufReader<ChildStderr>,
}

impl Waiting {
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        Self {
            out: BufReader::new(child.stdout.take().expect("piped")),
            complaints: BufReader::new(child.stderr.take().expect("piped")),
            child,
        }
    }

    /// The next line of what it complains of.
    pub(crate) fn complaint(&mut self) -> String {
        let mut line = String::new();
        self.complaints.read_line(&mut line).expect("a line");
        line
    }

    /// What it says when it is ready.
    pub(crate) fn ready(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).expect("a line");
        serde_json::from_str(&line).expect("JSON")
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        kill_process(pid(self.child.id()), Signal::TERM).expect("it runs");
        self.child.wait().expect("it ended")
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

pub(crate) fn pid(id: u32) -> Pid {
    let id = i32::try_from(id).expect("the id of a process");
    Pid::from_raw(id).expect("no process has the id 0")
}
