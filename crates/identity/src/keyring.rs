//! Ed25519 keys, their rotation with overlap, and the file that processes share.
//!
//! What is guaranteed of [`Keyring::rotate`]: a token that was good stays good until its own end. The
//! new key is published before it signs, so that every process has time to [hear of it](Keyring::follow_file),
//! and the old one is trusted until the last token that it signed has expired.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use env::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    Error, Jwks, LEEWAY, TOKEN_LIFETIME, crypto,
    jwks::TrustedKeys,
    key::{Key, StoredKey},
};

/// The private keys of a platform. A clone is a handle to the same ring.
///
/// One process rotates; the others refresh from the file that it writes.
#[derive(Clone, Debug)]
pub struct Keyring {
    keys: Arc<ArcSwap<Vec<Key>>>,
    trusted: TrustedKeys,
    path: Option<PathBuf>,
}

#[derive(Serialize, Deserialize)]
struct File {
    keys: Vec<StoredKey>,
}

impl Keyring {
    /// A ring in memory with one new key, which signs at once.
    pub fn generate() -> Self {
        Self::of(vec![Key::generate(env::now())], None)
    }

    fn of(keys: Vec<Key>, path: Option<PathBuf>) -> Self {
        crypto::install();
        Self {
            trusted: TrustedKeys::of(&keys),
            keys: Arc::new(ArcSwap::from_pointee(keys)),
            path,
        }
    }

    /// The ring in the file at `path`, which is made, with mode 0600 and one new key, if it is not there.
    /// Of several processes that start at the same time one makes it and all get the same.
    ///
    /// # Errors
    /// As [`Keyring::load`] and [`Keyring::save`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        match Self::load(path) {
            Err(Error::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        match write_new(path, &[Key::generate(env::now())]) {
            Err(Error::Unwritable { source, .. })
                if source.kind() != io::ErrorKind::AlreadyExists =>
            {
                Err(Error::Unwritable {
                    path: path.to_owned(),
                    source,
                })
            }
            _ => Self::load(path),
        }
    }

    /// The ring in the file at `path`.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::Exposed`], [`Error::Damaged`].
    pub fn load(path: &Path) -> Result<Self, Error> {
        Ok(Self::of(read(path)?, Some(path.to_owned())))
    }

    /// Writes the ring to `path` with mode 0600, in place of what is there, at once or not at all.
    ///
    /// # Errors
    /// [`Error::Unwritable`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        write(path, &self.keys.load())
    }

    /// Reads the file of this ring again; a ring in memory stays as it is. Says whether it changed.
    ///
    /// # Errors
    /// As [`Keyring::load`]; the ring keeps its keys then.
    pub fn refresh(&self) -> Result<bool, Error> {
        let Some(path) = &self.path else {
            return Ok(false);
        };
        let keys = read(path)?;
        let changed = **self.keys.load() != keys;
        if changed {
            self.install(keys);
        }
        Ok(changed)
    }

    /// [Refreshes](Self::refresh) for ever, each time after `every`, or up to a fifth sooner, so that processes that started
    /// together do not read together. Where the file cannot be read the ring keeps its keys, and it is tried again.
    pub async fn follow_file(self, every: Duration) {
        if self.path.is_none() {
            return;
        }
        let mut failed = false;
        loop {
            let share = env::random().below(1_000) as f64 / 1_000.0;
            env::sleep(every.mul_f64(1.0 - share / 5.0)).await;
            let outcome = self.refresh();
            match &outcome {
                Ok(true) => {
                    let keys = self.jwks();
                    tracing::info!(keys = ?keys.ids(), "the keys of service tokens have changed");
                }
                Err(error) if !failed => tracing::warn!(
                    error = env::chain(error),
                    "the keys of service tokens cannot be read again; those that are known stay in use"
                ),
                _ => {}
            }
            failed = outcome.is_err();
        }
    }

    /// Adds a key that signs from `publish_ahead` from now on, and lets the others go once what they
    /// signed until then has expired. A ring from a file is written back to it.
    ///
    /// `publish_ahead` must be longer than the interval at which other processes refresh; zero where
    /// there are none.
    ///
    /// # Errors
    /// [`Error::Unwritable`]; the ring keeps its keys then.
    pub fn rotate(&self, publish_ahead: Duration) -> Result<(), Error> {
        let now = env::now();
        let next = Key::generate(later(now, publish_ahead));
        let retired = later(next.signs_from, TOKEN_LIFETIME + 2 * LEEWAY);
        let mut keys: Vec<Key> = self.keys.load().as_ref().clone();
        keys.retain(|key| key.is_trusted(now));
        for key in &mut keys {
            key.verifies_until.get_or_insert(retired);
        }
        keys.push(next);
        if let Some(path) = &self.path {
            write(path, &keys)?;
        }
        self.install(keys);
        Ok(())
    }

    /// The public keys that are trusted now: what to publish.
    pub fn jwks(&self) -> Jwks {
        let now = env::now();
        Jwks::of(self.keys.load().iter().filter(|key| key.is_trusted(now)))
    }

    /// The public keys, following this ring as it rotates.
    pub fn trusted(&self) -> TrustedKeys {
        self.trusted.clone()
    }

    /// The key that signs now: the newest of those that may.
    pub(crate) fn signing(&self) -> Result<Key, Error> {
        let now = env::now();
        // A clock that is a little slow would otherwise find a new ring without a key.
        let latest = later(now, LEEWAY);
        let keys = self.keys.load();
        let may_sign = |limit: Timestamp| {
            keys.iter()
                .filter(|key| key.signs_from <= limit && key.is_trusted(now))
                .max_by_key(|key| key.signs_from)
                .cloned()
        };
        may_sign(now)
            .or_else(|| may_sign(latest))
            .ok_or(Error::NoSigningKey)
    }

    fn install(&self, keys: Vec<Key>) {
        // Trusted before used: no token is signed by a key that this process would refuse.
        self.trusted.replace_own(&keys);
        self.keys.store(Arc::new(keys));
    }
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

fn read(path: &Path) -> Result<Vec<Key>, Error> {
    let unreadable = |source| Error::Unreadable {
        path: path.to_owned(),
        source,
    };
    let damaged = |reason: String| Error::Damaged {
        path: path.to_owned(),
        reason,
    };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        return Err(Error::Exposed {
            path: path.to_owned(),
            mode,
        });
    }
    let text = fs::read(path).map_err(unreadable)?;
    let file: File = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let keys = file.keys.into_iter().map(Key::try_from);
    keys.collect::<Result<_, String>>().map_err(damaged)
}

/// Replaces the file at `path`.
fn write(path: &Path, keys: &[Key]) -> Result<(), Error> {
    publish(path, keys, |temporary| fs::rename(temporary, path))
}

/// Makes the file at `path`; fails with `AlreadyExists` when somebody else did.
fn write_new(path: &Path, keys: &[Key]) -> Result<(), Error> {
    publish(path, keys, |temporary| fs::hard_link(temporary, path))
}

/// Writes the keys beside `path` and lets `place` put the file there, so that a reader never sees half.
fn publish(
    path: &Path,
    keys: &[Key],
    place: impl Fn(&Path) -> io::Result<()>,
) -> Result<(), Error> {
    let file = File {
        keys: keys.iter().map(StoredKey::from).collect(),
    };
    let temporary = path.with_extension(format!("{}.tmp", env::id()));
    let attempt = || {
        let text = serde_json::to_vec_pretty(&file).map_err(io::Error::other)?;
        let mut open = OpenOptions::new();
        let mut new = open
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        new.write_all(&text)?;
        new.sync_all()?;
        place(&temporary)
    };
    let result = attempt();
    // Renamed, it is gone already; linked or failed, it is of no more use.
    let _ = fs::remove_file(&temporary);
    result.map_err(|source| Error::Unwritable {
        path: path.to_owned(),
        source,
    })
}
