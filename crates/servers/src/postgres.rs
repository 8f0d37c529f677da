//! A private PostgreSQL server, and others that follow it.

mod disk;
mod replica;

pub use disk::SmallDisk;

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::process::{Child, Command};

use crate::{
    Error, free_port,
    guard::Guard,
    programs::{self, User, command, run},
};

/// How long a server may take until it answers. A start after a crash reads the log first.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Between two looks whether it answers.
const LOOK: Duration = Duration::from_millis(20);

/// The administrator of every server here, and the user of the system that it runs as under root.
const ADMINISTRATOR: &str = "postgres";

/// What a server is like.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Options {
    /// Whether it syncs its files. Off by default, which is faster and survives [`Postgres::kill`];
    /// a commit is then not on the disk, only with the operating system.
    pub fsync: bool,
    /// The administrator's password. None by default: whoever connects from this machine is let in.
    pub password: Option<String>,
    /// Certificate and key in PEM, to offer TLS. None by default.
    pub tls: Option<(String, String)>,
    /// Further settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Syncs its files.
    #[must_use]
    pub fn fsync(self) -> Self {
        Self {
            fsync: true,
            ..self
        }
    }

    /// Asks for a password.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        Self {
            password: Some(password.to_owned()),
            ..self
        }
    }

    /// Offers TLS.
    #[must_use]
    pub fn tls(self, certificate: &str, key: &str) -> Self {
        Self {
            tls: Some((certificate.to_owned(), key.to_owned())),
            ..self
        }
    }

    /// Another setting.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A server of its own. Dropped, it is stopped and its files are removed.
pub struct Postgres {
    programs: PathBuf,
    user: Option<User>,
    folder: PathBuf,
    port: u16,
    password: Option<String>,
    process: Option<Child>,
    _guard: Guard,
}

impl Postgres {
    /// Starts a server, with the default [`Options`].
    ///
    /// # Errors
    /// [`Error::Missing`] when PostgreSQL is not installed; whatever the system refuses.
    pub async fn start() -> Result<Self, Error> {
        Self::start_with(Options::new()).await
    }

    /// Starts a server.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(options: Options) -> Result<Self, Error> {
        let mut server = Self::at_home(options.password.clone()).await?;
        server.initialize()?;
        server.configure(&options)?;
        server.restart().await?;
        Ok(server)
    }

    /// A folder and a port of its own, and nothing in it yet.
    async fn at_home(password: Option<String>) -> Result<Self, Error> {
        let programs = programs_folder()?;
        let folder = tempfile::Builder::new()
            .prefix("outrigger-postgres-")
            .tempdir()
            .map_err(Error::Folder)?
            .keep(); // from here on it is the guard's
        let user = User::instead_of_root(&folder, ADMINISTRATOR)?;
        let guard = Guard::over(&folder, &folder.join("data/postmaster.pid"))?;
        hand_over(&folder, user)?;
        Ok(Self {
            programs,
            user,
            folder,
            port: free_port().await?,
            password,
            process: None,
            _guard: guard,
        })
    }

    fn initialize(&self) -> Result<(), Error> {
        let mut initdb = command(&self.programs.join("initdb"), self.user);
        initdb
            .args(["--no-sync", "--encoding=UTF8", "--locale=C"])
            .args(["--username", ADMINISTRATOR, "-D"])
            .arg(self.folder.join("data"));
        match &self.password {
            Some(password) => {
                let file = self.folder.join("password");
                write(&file, password, self.user)?;
                initdb.arg("--auth=scram-sha-256").arg("--pwfile").arg(file);
            }
            None => {
                initdb.arg("--auth=trust");
            }
        }
        run(initdb)
    }

    fn configure(&self, options: &Options) -> Result<(), Error> {
        let data = self.folder.join("data");
        let on = |yes: bool| if yes { "on" } else { "off" }.to_owned();
        let mut settings = vec![
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("port".to_owned(), self.port.to_string()),
            ("unix_socket_directories".to_owned(), String::new()),
            ("fsync".to_owned(), on(options.fsync)),
            ("full_page_writes".to_owned(), on(options.fsync)),
            // Small: there may be several on the machine.
            ("shared_buffers".to_owned(), "32MB".to_owned()),
            ("ssl".to_owned(), on(options.tls.is_some())),
        ];
        if let Some((certificate, key)) = &options.tls {
            write(&data.join("server.crt"), certificate, self.user)?;
            write(&data.join("server.key"), key, self.user)?;
        }
        settings.extend(options.settings.iter().cloned());
        self.set(&settings)
    }

    /// Later lines of the file win over those before them.
    fn set(&self, settings: &[(String, String)]) -> Result<(), Error> {
        let file = self.folder.join("data/postgresql.conf");
        let mut text = fs::read_to_string(&file).map_err(Error::Folder)?;
        for (name, value) in settings {
            text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
        }
        fs::write(&file, text).map_err(Error::Folder)
    }

    /// The URL of the administrator, for the database `postgres`.
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// The port that it listens on, at 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a new, empty database; its URL.
    ///
    /// # Errors
    /// [`Error::Failed`], when there is one of this name.
    pub async fn database(&self, name: &str) -> Result<String, Error> {
        self.sql(&format!("CREATE DATABASE \"{name}\""))?;
        Ok(self.url_of(name))
    }

    /// Runs a statement as the administrator, past whatever is tested.
    ///
    /// # Errors
    /// [`Error::Failed`], with what the server says.
    pub fn sql(&self, statement: &str) -> Result<(), Error> {
        let mut psql = command(&self.programs.join("psql"), None);
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement])
            .arg(self.url());
        run(psql)
    }

    /// Kills it without warning (SIGKILL), and returns when it is gone.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.kill().await.map_err(Error::Folder)
    }

    /// Starts it again with the same files on the same port, after it was killed or while it runs.
    /// Returns when it answers.
    ///
    /// # Errors
    /// [`Error::Start`]; whatever the system refuses.
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        let deadline = env::instant() + START_LIMIT;
        loop {
            if self.process.is_none() {
                self.process = Some(self.launch()?);
            }
            if self.answers()? {
                return Ok(());
            }
            if env::instant() >= deadline {
                return Err(Error::Start {
                    program: "postgres",
                    said: self.log_end(),
                });
            }
            env::sleep(LOOK).await;
            // The last connections of a killed server may hold its memory for a moment, and then a
            // new one does not start.
            if let Some(process) = &mut self.process
                && let Ok(Some(_)) = process.try_wait()
            {
                self.process = None;
            }
        }
    }

    fn launch(&self) -> Result<Child, Error> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .map_err(Error::Folder)?;
        let errors = log.try_clone().map_err(Error::Folder)?;
        Command::from(command(&self.programs.join("postgres"), self.user))
            .kill_on_drop(true)
            .arg("-D")
            .arg(self.folder.join("data"))
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Error::Folder)
    }

    fn answers(&self) -> Result<bool, Error> {
        let port = self.port.to_string();
        let status = command(&self.programs.join("pg_isready"), None)
            .args(["-q", "-h", "127.0.0.1", "-p", &port])
            .status()
            .map_err(Error::Folder)?;
        Ok(status.success())
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    fn url_of(&self, database: &str) -> String {
        let password = self
            .password
            .as_ref()
            .map(|password| format!(":{password}"));
        format!(
            "postgres://{ADMINISTRATOR}{}@127.0.0.1:{}/{database}",
            password.unwrap_or_default(),
            self.port,
        )
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Dropping the process kills it, and so does the guard, which is dropped after it.
        drop(self.process.take());
    }
}

/// The folder of the newest installed version.
fn programs_folder() -> Result<PathBuf, Error> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let folder = entry.ok()?.path();
            let version = folder.file_name()?.to_str()?.parse().ok()?;
            Some((version, folder.join("bin")))
        })
        .collect();
    versions.sort();
    let folders = versions.into_iter().rev().map(|(_, folder)| folder);
    let initdb = programs::find("initdb", folders)
        .and_then(|file| file.canonicalize().ok())
        .ok_or_else(|| Error::Missing {
            program: "PostgreSQL",
            install: "apt-get install postgresql",
            source: std::io::ErrorKind::NotFound.into(),
        })?;
    Ok(initdb.parent().unwrap_or(Path::new("/")).to_owned())
}

/// A file that its user alone may read.
fn write(file: &Path, text: &str, user: Option<User>) -> Result<(), Error> {
    fs::write(file, text).map_err(Error::Folder)?;
    fs::set_permissions(file, Permissions::from_mode(0o600)).map_err(Error::Folder)?;
    hand_over(file, user)
}

fn hand_over(file: &Path, user: Option<User>) -> Result<(), Error> {
    match user {
        Some(User { uid, gid }) => chown(file, Some(uid), Some(gid)).map_err(Error::Folder),
        None => Ok(()),
    }
}
