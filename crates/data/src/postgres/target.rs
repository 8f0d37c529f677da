//! Which server, which database, and how: read from a URL once.
//!
//! It holds the password, so it has no `Debug`, and no error of it quotes the URL.

use std::{
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use env::tls::Authorities;
use tokio_postgres::config::{Config, Host, SslMode};

use super::tls::{Tls, Trust};
use crate::{Error, Result};

/// Connections of a pool, unless the URL says `pool_size=`.
const POOL_SIZE: usize = 10;

/// How long a connection may take to come about, unless the URL says `connect_timeout=` (seconds).
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a statement may take, unless the URL says `statement_timeout=` (milliseconds).
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What may stand after `?`. The last two are libpq's, and go to the server as they are.
const PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "pool_size",
    "connect_timeout",
    "statement_timeout",
    "target_session_attrs",
    "application_name",
    "options",
];

/// What is said of a URL that cannot be read.
const FORM: &str = "write `postgres://user:password@host:5432/database?sslmode=verify-full`, with anything but \
                    letters and digits in the password as %XX";

pub(super) struct Target {
    pub(super) config: Config,
    /// `host:port`, at least one.
    pub(super) hosts: Vec<(String, u16)>,
    /// The one of them that took us last; the first one at first.
    first: AtomicUsize,
    pub(super) trust: Trust,
    pub(super) pool_size: usize,
    pub(super) connect_timeout: Duration,
    pub(super) statement_timeout: Duration,
}

impl Target {
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if query.contains('@') {
            return Err(Error::Url { problem: FORM }); // a `?` in the password, which is not shown
        }
        let mut theirs = Vec::new();
        let mut pool_size = POOL_SIZE;
        let mut connect_timeout = CONNECT_TIMEOUT;
        let mut statement_timeout = STATEMENT_TIMEOUT;
        let (mut mode, mut roots) = ("prefer", None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').ok_or(Error::Url { problem: FORM })? {
                ("sslmode", value) => mode = value,
                ("sslrootcert", value) => roots = Some(value),
                ("pool_size", value) => {
                    pool_size = number(value, "pool_size is a number from 1 to 1000", 1000)?;
                }
                ("connect_timeout", value) => {
                    let seconds = number(value, "connect_timeout is in seconds, 1 to 3600", 3600)?;
                    connect_timeout = Duration::from_secs(seconds as u64);
                }
                ("statement_timeout", value) => {
                    let problem = "statement_timeout is in milliseconds, 1 to 86400000";
                    let millis = number(value, problem, 86_400_000)?;
                    statement_timeout = Duration::from_millis(millis as u64);
                }
                // A service writes.
                ("target_session_attrs", "read-write" | "primary") => {}
                ("target_session_attrs", _) => {
                    let problem =
                        "target_session_attrs is read-write, which it is without saying so";
                    return Err(Error::Url { problem });
                }
                ("application_name" | "options", _) => theirs.push(pair),
                (name, _) => return Err(Error::url_parameter(name, PARAMETERS)),
            }
        }
        let (ssl_mode, trust) = trust(mode, roots)?;
        let address = format!("{address}?{}", theirs.join("&"));
        let mut config = Config::from_str(&address).map_err(|_| Error::Url { problem: FORM })?;
        if config.get_dbname().is_none() || config.get_user().is_none() {
            return Err(Error::Url { problem: FORM });
        }
        config.ssl_mode(ssl_mode);
        if config.get_application_name().is_none() {
            config.application_name("outrigger");
        }
        Ok(Self {
            hosts: hosts(&config)?,
            first: AtomicUsize::new(0),
            config,
            trust,
            pool_size,
            connect_timeout,
            statement_timeout,
        })
    }

    /// Which hosts to try, in turn: the one that took us last, and those after it.
    pub(super) fn hosts_in_turn(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.hosts.len());
        (first..first + count).map(move |index| index % count)
    }

    /// A host has taken us: the others need not be asked again while it does.
    pub(super) fn took_us(&self, index: usize) {
        self.first.store(index, Ordering::Relaxed);
    }

    /// The name of the database.
    pub(super) fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or_default()
    }

    /// Where it is, for errors: without user and password.
    pub(super) fn place(&self) -> String {
        format!("{}/{}", self.servers(), self.database())
    }

    /// The same without the database.
    pub(super) fn servers(&self) -> String {
        let hosts: Vec<_> = self
            .hosts
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        format!("postgres://{}", hosts.join(","))
    }

    /// What encrypts a connection to `host`.
    pub(super) fn tls(&self, host: &str) -> Result<Tls> {
        Tls::new(&self.trust, host)
    }
}

fn number(text: &str, problem: &'static str, most: usize) -> Result<usize> {
    match text.parse() {
        Ok(number) if (1..=most).contains(&number) => Ok(number),
        _ => Err(Error::Url { problem }),
    }
}

/// The modes of libpq, with its meanings; `verify-ca` looks at the name too.
fn trust(mode: &str, roots: Option<&str>) -> Result<(SslMode, Trust)> {
    let named = || {
        let authorities = roots.map(|file| Authorities::File(file.into()));
        Trust::In(authorities.unwrap_or_default())
    };
    match (mode, roots) {
        ("disable", _) => Ok((SslMode::Disable, Trust::Anyone)),
        ("prefer", _) => Ok((SslMode::Prefer, Trust::Anyone)),
        ("require", None) => Ok((SslMode::Require, Trust::Anyone)),
        ("require" | "verify-ca" | "verify-full", _) => Ok((SslMode::Require, named())),
        _ => Err(Error::Url {
            problem: "sslmode is disable, prefer, require, verify-ca or verify-full",
        }),
    }
}

fn hosts(config: &Config) -> Result<Vec<(String, u16)>> {
    let ports = config.get_ports();
    let port = |index: usize| match ports {
        [] => 5432,
        [only] => *only,
        each => each.get(index).copied().unwrap_or(5432),
    };
    let hosts = config.get_hosts().iter().enumerate();
    let hosts: Vec<_> = hosts
        .map(|(index, host)| match host {
            Host::Tcp(name) => Ok((name.clone(), port(index))),
            Host::Unix(_) => Err(Error::Url {
                problem: "sockets of the file system are not supported: name a host",
            }),
        })
        .collect::<Result<_>>()?;
    if hosts.is_empty() {
        return Err(Error::Url { problem: FORM });
    }
    Ok(hosts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem(url: &str) -> String {
        match Target::parse(url) {
            Ok(_) => panic!("{url} was taken"),
            Err(error) => format!("{error} {error:?}"),
        }
    }

    #[test]
    fn defaults_and_what_the_url_says_instead() {
        let target = Target::parse("postgres://me:pw@db.local/shop").expect("a URL");
        assert_eq!(target.place(), "postgres://db.local:5432/shop");
        assert_eq!((target.pool_size, target.database()), (10, "shop"));

        let url = "postgresql://me@a:1,b:2/shop?pool_size=3&connect_timeout=1&statement_timeout=500&application_name=x";
        let target = Target::parse(url).expect("a URL");
        assert_eq!(target.place(), "postgres://a:1,b:2/shop");
        assert_eq!(target.pool_size, 3);
        assert_eq!(target.statement_timeout, Duration::from_millis(500));
        assert_eq!(target.config.get_application_name(), Some("x"));
    }

    #[test]
    fn what_cannot_be_read_is_refused_without_showing_the_password() {
        for url in [
            "postgres://me:secret@host/db?pool_size=0",
            "postgres://me:secret@host/db?sslmode=maybe",
            "postgres://me:secret@host",
            "postgres://me:secret@/db",
            "postgres://me:secret@%2Ftmp/db",
            "postgres://me:secret@host:port/db",
            "postgres://me:secret@host/db?nonsense=secret",
            "postgres://me:what?secret=1@host/db",
            "postgres://me:secret@host/db?target_session_attrs=any",
        ] {
            let problem = problem(url);
            assert!(!problem.contains("secret"), "{url}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn no_url_makes_it_panic_or_show_the_password(before in "[!-~]{0,8}", after in "[!-~]{0,8}") {
            let url = format!("postgres://me:{before}sEcReT{after}@host/db?pool_size=3");
            if let Err(error) = Target::parse(&url) {
                let said = format!("{error} {error:?}");
                prop_assert!(!said.contains("sEcReT"), "{url}: {said}");
            }
            let _ = Target::parse(&format!("postgres:{before}{after}"));
        }
    }

    #[test]
    fn a_parameter_that_is_mistyped_is_named_with_the_one_that_was_meant() {
        let problem = problem("postgres://me@host/db?poolsize=3");
        assert!(
            problem.contains("`poolsize`") && problem.contains("did you mean `pool_size`?"),
            "{problem}"
        );
        Target::parse("postgres://me@host/db?target_session_attrs=read-write").expect("a URL");
    }
}
