//! `database`: what the services need of a PostgreSQL server before they can start.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use outrigger::{System, data, env};
use serde_json::{Value, json};

use crate::{Error, Global, Output, note, say};

/// Where the administrator's URL is looked for when no flag says it: there no list of processes shows it.
const ADMIN_URL: &str = "ADMIN_DATABASE_URL";

/// Prepare the databases of the services on a PostgreSQL server
#[derive(Args)]
pub(crate) struct Database {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    Provision(Provision),
}

/// Make a database for each service, and a role that alone can enter it
///
/// What is there already stays as it is, so it may be run again, as after a service was added. A new role gets a random
/// password, which the server sees only as a hash.
#[derive(Args)]
#[command(after_help = "Examples:
  shop database provision --admin-url postgres://admin:secret@db.local/postgres --write outrigger.toml
  ADMIN_DATABASE_URL=postgres://… shop database provision --service order-service --print-passwords

The lines that are printed or written go into the settings; `shop doctor` looks whether all is well then.")]
struct Provision {
    /// The URL of a role that may create roles and databases [default: the variable ADMIN_DATABASE_URL]
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,

    /// Only for this service
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// Give roles that are there already a new password too
    #[arg(long)]
    new_passwords: bool,

    #[command(flatten)]
    passwords: Passwords,
}

/// Where the passwords go. Nowhere is no choice: nobody could use what was made.
#[derive(Args)]
#[group(required = true, multiple = false)]
struct Passwords {
    /// Print the settings with the passwords
    #[arg(long)]
    print_passwords: bool,

    /// Append the settings with the passwords to this file, which you alone may read
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

/// What there is for one service now.
struct Provisioned<'s> {
    service: &'s str,
    /// The URL with the password, where it was set.
    url: Option<String>,
}

impl Database {
    pub(crate) async fn run(self, system: &System, global: &Global) -> Result<ExitCode, Error> {
        let Action::Provision(provision) = self.action;
        provision.run(system, global.output).await
    }
}

impl Provision {
    async fn run(self, system: &System, output: Output) -> Result<ExitCode, Error> {
        let admin = self.admin_url.clone();
        let admin = admin
            .or_else(|| std::env::var(ADMIN_URL).ok())
            .ok_or(Error::NoAdminUrl)?;
        if let Some(service) = &self.service {
            system.find(service)?;
        }
        let mut file = self.passwords.write.as_deref().map(open).transpose()?;
        let names = system.services().iter().map(outrigger::Service::name);
        let mut done = Vec::new();
        for service in names.filter(|name| self.service.as_deref().is_none_or(|it| it == *name)) {
            let url = self.provision(&admin, service).await?;
            let provisioned = Provisioned { service, url };
            if let (Some((path, file)), Some(lines)) = (&mut file, provisioned.settings()) {
                file.write_all(lines.as_bytes()).map_err(unwritten(path))?;
            }
            self.tell(&provisioned, output);
            done.push(provisioned);
        }
        if output == Output::Json {
            let services: Vec<_> = done.iter().map(|it| self.described(it)).collect();
            say(json!({ "services": services }));
        }
        if let Some((path, _)) = file {
            note(format!("the settings are in {}", path.display()));
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Makes what there is not. Returns the URL, if a password was set.
    async fn provision(&self, admin: &str, service: &str) -> Result<Option<String>, Error> {
        let failed = |source| Error::Provision {
            service: service.to_owned(),
            source,
        };
        let there = data::is_provisioned(admin, service).await.map_err(failed)?;
        if there && !self.new_passwords {
            return Ok(None);
        }
        let password = password();
        data::provision(admin, service, &password)
            .await
            .map_err(failed)?;
        Ok(Some(url(admin, service, &password)))
    }

    fn tell(&self, provisioned: &Provisioned<'_>, output: Output) {
        if output == Output::Json {
            return;
        }
        let service = provisioned.service;
        match provisioned.settings() {
            None => say(format!("# {service} has its database and its role already")),
            Some(lines) => {
                say(format!(
                    "# {service} has a database and a role of this name"
                ));
                if self.passwords.print_passwords {
                    say(lines);
                }
            }
        }
    }

    fn described(&self, provisioned: &Provisioned<'_>) -> Value {
        let Provisioned { service, url } = provisioned;
        let shown = url.as_ref().filter(|_| self.passwords.print_passwords);
        json!({
            "service": service,
            "database": service,
            "role": service,
            "passwordSet": url.is_some(),
            "url": shown,
        })
    }
}

impl Provisioned<'_> {
    /// What is to be said in the settings.
    fn settings(&self) -> Option<String> {
        let url = self.url.as_ref()?;
        let service = self.service;
        Some(format!("[services.{service}]\ndatabase = \"{url}\"\n"))
    }
}

/// Random enough that nobody guesses it, and nothing in it has a meaning in a URL.
fn password() -> String {
    let part = |_| format!("{:016x}", env::random().below(u64::MAX));
    (0..3).map(part).collect()
}

/// The administrator's URL, as the one of `service`.
fn url(admin: &str, service: &str, password: &str) -> String {
    let (scheme, rest) = admin.split_once("://").unwrap_or(("postgres", admin));
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (rest, String::new()),
    };
    let authority = path.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{service}:{password}@{host}/{service}{query}")
}

/// Opens the file before anything is made, so that no password is set that goes nowhere.
fn open(path: &Path) -> Result<(PathBuf, File), Error> {
    let failed = unwritten(path);
    let opened = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    let file = opened.map_err(failed)?;
    let mode = file
        .metadata()
        .map_err(unwritten(path))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(Error::ReadByOthers { path });
    }
    Ok((path.to_owned(), file))
}

fn unwritten(path: &Path) -> impl FnOnce(std::io::Error) -> Error + use<> {
    let path = path.to_owned();
    move |source| Error::Unwritten { path, source }
}
