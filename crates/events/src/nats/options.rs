//! How the NATS backend is set: [`Options`], and the URL that can say all of it.

use std::{path::PathBuf, time::Duration};

use env::config::Secret;
use percent_encoding::percent_decode_str;

use crate::{Error, Result};

/// How the backend uses its server. Whatever is here may be said in the URL too, which wins:
/// `nats://user:password@host:4222,other:4222?stream=shop&replicas=3`.
#[derive(Debug, Clone)]
pub struct Options {
    /// The name of the stream, and what its subjects begin with: letters, digits, `_` and `-`.
    /// Default `outrigger`. In the URL: `stream`.
    pub stream: String,
    /// Into how many partitions keys are spread; it bounds how many events a group handles at once. Fixed when the
    /// stream is made. 1 to 256; by default what the stream has, and 16 for a new one. In the URL: `partitions`.
    pub partitions: Option<u16>,
    /// On how many servers of a cluster the stream is kept. 1 to 5; default 1. In the URL: `replicas`.
    pub replicas: usize,
    /// After how long an event leaves the stream, **handled or not**. Default 30 days. In the URL: `max_age`, in
    /// seconds.
    pub max_age: Duration,
    /// How many bytes the stream may have. When it is full it takes no more, and events wait in the outboxes.
    /// Default unlimited. In the URL: `max_bytes`.
    pub max_bytes: Option<i64>,
    /// For how long the server knows an id that it has taken. Default 2 min. In the URL: `dedupe_window`, in seconds.
    pub dedupe_window: Duration,
    /// How long a delivery may be without a sign of life of who has it, before another gets it. At least 1 s;
    /// default 10 s. In the URL: `lease`, in seconds.
    pub lease: Duration,
    /// How long an answer of the server is waited for. Default 5 s.
    pub timeout: Duration,
    /// A PEM file of the authorities whose certificates are trusted, beside those of the system. In the URL: `ca`.
    pub ca: Option<PathBuf>,
    /// The PEM files of this client's certificate and of its key. In the URL: `certificate` and `key`.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file of credentials (JWT and seed). In the URL: `credentials`.
    pub credentials: Option<PathBuf>,
    /// The user and the password. In the URL: before the `@`.
    pub user: Option<(String, Secret)>,
    /// A token. In the URL: before the `@`, without a colon.
    pub token: Option<Secret>,
    /// Where the servers' monitoring answers, such as `http://host:8222`, with commas between them: there the check of
    /// the servers sees whether they sync. By default that port of every host of the URL is tried. In the URL: `monitor`.
    pub monitor: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stream: "outrigger".to_owned(),
            partitions: None,
            replicas: 1,
            max_age: Duration::from_secs(30 * 24 * 60 * 60),
            max_bytes: None,
            dedupe_window: Duration::from_secs(2 * 60),
            lease: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            ca: None,
            certificate: None,
            credentials: None,
            user: None,
            token: None,
            monitor: None,
        }
    }
}

/// Where the servers are, and how they are used. It prints no secret.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `scheme://host:port`, without user and password.
    pub(super) servers: Vec<String>,
    pub(super) tls: bool,
    pub(super) options: Options,
}

impl Target {
    /// Reads `url` over `options`.
    pub(super) fn parse(url: &str, mut options: Options) -> Result<Self> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong("it has no scheme"))?;
        if !["nats", "tls"].contains(&scheme) {
            return Err(wrong(format!("`{scheme}` is not its scheme")));
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, hosts) = match place.rsplit_once('@') {
            Some((user, hosts)) => (Some(user), hosts),
            None => (None, place),
        };
        match user.map(|user| user.split_once(':').ok_or(user)) {
            None => {}
            Some(Ok((user, password))) => {
                options.user = Some((decode(user)?, Secret::new(decode(password)?)));
            }
            Some(Err(token)) => options.token = Some(Secret::new(decode(token)?)),
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            options.set(name, decode(value)?)?;
        }
        options.check()?;
        let hosts = hosts.trim_end_matches('/').split(',');
        let servers: Vec<String> = hosts.map(|host| format!("{scheme}://{host}")).collect();
        for server in &servers {
            let address: async_nats::ServerAddr = server
                .parse()
                .map_err(|error| wrong(format!("`{server}` is no server: {error}")))?;
            if address.host().is_empty() {
                return Err(wrong("it names no host"));
            }
        }
        Ok(Self {
            servers,
            tls: scheme == "tls",
            options,
        })
    }

    /// The servers, for messages.
    pub(super) fn name(&self) -> String {
        self.servers.join(",")
    }
}

impl Options {
    fn set(&mut self, name: &str, value: String) -> Result<()> {
        match name {
            "stream" => self.stream = value,
            "partitions" => self.partitions = Some(number(name, &value)?),
            "replicas" => self.replicas = number(name, &value)?,
            "max_age" => self.max_age = Duration::from_secs(number(name, &value)?),
            "max_bytes" => self.max_bytes = Some(number(name, &value)?),
            "dedupe_window" => self.dedupe_window = Duration::from_secs(number(name, &value)?),
            "lease" => self.lease = Duration::from_secs(number(name, &value)?),
            "ca" => self.ca = Some(value.into()),
            "credentials" => self.credentials = Some(value.into()),
            "certificate" => self.pair().0 = value.into(),
            "key" => self.pair().1 = value.into(),
            "monitor" => self.monitor = Some(value),
            unknown => {
                return Err(wrong(format!(
                    "it has no parameter `{unknown}`; it has stream, partitions, replicas, max_age, max_bytes, \
                     dedupe_window, lease, ca, certificate, key, credentials and monitor"
                )));
            }
        }
        Ok(())
    }

    fn pair(&mut self) -> &mut (PathBuf, PathBuf) {
        self.certificate.get_or_insert_default()
    }

    fn check(&self) -> Result<()> {
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let named = !self.stream.is_empty() && self.stream.len() <= 64;
        if !named || !self.stream.chars().all(legal) {
            return Err(wrong(
                "a stream is named with 1 to 64 letters, digits, `_` and `-`",
            ));
        }
        if !self.partitions.is_none_or(|it| (1..=256).contains(&it)) {
            return Err(wrong("`partitions` is 1 to 256"));
        }
        if !(1..=5).contains(&self.replicas) {
            return Err(wrong("`replicas` is 1 to 5"));
        }
        if self.lease < Duration::from_secs(1) {
            return Err(wrong("`lease` is at least 1 second"));
        }
        if self.dedupe_window > self.max_age {
            return Err(wrong("`dedupe_window` is at most `max_age`"));
        }
        let empty = |path: &PathBuf| path.as_os_str().is_empty();
        if self
            .certificate
            .as_ref()
            .is_some_and(|(certificate, key)| empty(certificate) || empty(key))
        {
            return Err(wrong("`certificate` and `key` go together"));
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T> {
    value
        .parse()
        .map_err(|_| wrong(format!("`{name}` is a number, not `{value}`")))
}

/// Undoes percent-encoding, and is strict: who forgot to encode a `%` would have another password.
fn decode(text: &str) -> Result<String> {
    let mut parts = text.split('%');
    parts.next();
    let is_encoded = |part: &str| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !parts.all(is_encoded) {
        return Err(wrong("a `%` is not followed by two hexadecimal digits"));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| wrong("what is percent-encoded is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// Never with what stands before the `@`.
fn wrong(reason: impl Into<String>) -> Error {
    Error::InvalidUrl {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_everything() {
        let url = "nats://shop:p%40ss@one:4222,two?stream=shop&partitions=4&replicas=3&lease=3&monitor=http://one:8222";
        let target = Target::parse(url, Options::default()).expect("a target");
        assert_eq!(target.servers, ["nats://one:4222", "nats://two"]);
        let options = &target.options;
        assert_eq!((options.partitions, options.replicas), (Some(4), 3));
        assert_eq!(options.monitor.as_deref(), Some("http://one:8222"));
        let (user, password) = options.user.as_ref().expect("a user");
        assert_eq!((user.as_str(), password.reveal()), ("shop", "p@ss"));
        assert!(!format!("{target:?}").contains("p@ss"));
    }

    #[test]
    fn what_is_wrong_is_said_and_no_secret_with_it() {
        for (url, reason) in [
            ("host:4222", "scheme"),
            ("http://u:hidden@host", "scheme"),
            ("nats://u:hidden@", "host"),
            ("nats://u:hidden@host?replica=3", "no parameter `replica`"),
            ("nats://u:hidden@host?replicas=7", "1 to 5"),
            ("nats://u:hidden@host?partitions=0", "1 to 256"),
            ("nats://u:hidden%@host", "hexadecimal"),
            ("nats://u:hidden@host?stream=a.b", "named"),
            ("nats://u:hidden@host?certificate=a", "go together"),
        ] {
            let error = Target::parse(url, Options::default()).expect_err(url);
            let text = env::chain(&error);
            assert!(text.contains(reason), "{url}: {text}");
            assert!(!text.contains("hidden"), "{url}: {text}");
        }
    }

    proptest::proptest! {
        /// Nor is a secret ever in an error.
        #[test]
        fn parsing_never_panics(
            scheme in "(nats|tls)?(://)?",
            host in "\\PC{0,20}|[a-z0-9:,%@\\[\\].]{0,30}",
            parameters in proptest::collection::vec((
                "stream|partitions|replicas|max_age|max_bytes|dedupe_window|lease|ca|key|certificate|monitor|[a-z]{0,5}",
                "[0-9]{0,25}|-?[0-9]{1,3}|\\PC{0,10}|%[0-9a-f]{0,3}",
            ), 0..5),
        ) {
            let parameters: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let url = format!("{scheme}user:hidden@{host}?{}", parameters.join("&"));
            match Target::parse(&url, Options::default()) {
                Ok(target) => {
                    let text = format!("{target:?}");
                    proptest::prop_assert!(!text.contains("hidden"), "{}", text);
                }
                Err(error) => {
                    let text = env::chain(&error);
                    proptest::prop_assert!(!text.contains("hidden"), "{}", text);
                }
            }
        }
    }
}
