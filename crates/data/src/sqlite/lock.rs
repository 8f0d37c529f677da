//! A lock that one process has at a time: of a file beside the database, because SQLite's own locks are taken and let
//! go with each of its transactions, and end when anything in the process closes the same file.

use std::{
    collections::BTreeSet,
    fs::{File, TryLockError},
    io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use super::Place;

/// Dropped, it is let go; it goes with its process too.
#[derive(Debug)]
pub(crate) enum Lock {
    /// The operating system's. The file stays: whoever removed it could lock another one of that name.
    File { _file: File },
    /// Of a database that is on no file system of the machine: then all who use it are in this process.
    Name(PathBuf),
}

static NAMES: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

impl Lock {
    /// Takes the lock `name` of a database; `None` when another one has it.
    pub(super) fn take(place: &Place, name: &str) -> io::Result<Option<Self>> {
        let letters = name
            .chars()
            .map(|it| if it.is_alphanumeric() { it } else { '-' });
        let mut path = place.path().as_os_str().to_owned();
        path.push(format!("-{}.lock", letters.collect::<String>()));
        let path = PathBuf::from(path);
        if !place.is_plain() {
            let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(names.insert(path.clone()).then_some(Self::Name(path)));
        }
        let file = File::options().create(true).append(true).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self::File { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Self::Name(path) = self {
            let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
            names.remove(path);
        }
    }
}
