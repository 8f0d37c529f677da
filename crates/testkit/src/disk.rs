//! A disk that loses power, lies, fails and fills up, from a seed, for SQLite to run on.
//!
//! Killing a process shows nothing of what a disk does to what was written and not synced: the kernel keeps it. Here
//! a write is pending until the file is synced, and [`Disk::power_loss`] keeps, tears or drops each pending write.
//! [`Faults`] are the rest: a sync that fails or lies, a write that fails or is torn, a full disk, a failing read.
//!
//! ```
//! # use outrigger_testkit::disk::Disk;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = Disk::new(42)?;
//! let db = data::Database::open(&disk.url("shop.sqlite")).await?;
//! disk.power_loss(); // from here on `db` gets I/O errors
//! drop(db);
//! let db = data::Database::open(&disk.url("shop.sqlite")).await?; // after the machine has started again
//! # Ok(())
//! # }
//! ```
//!
//! Lose the power **before** the process that uses the disk ends: a process that ends closes its database, and
//! closing one syncs it.
//!
//! The model is that of a file system on Linux. A sector of 512 bytes is written whole or not at all, and a write
//! leaves the bytes beside it alone (SQLite takes the same for granted). Pending writes reach the disk in any order.
//! The name of a new file is durable when the file is synced, a deletion when the directory is. After a sync that
//! failed, what was pending is never written, although one half of all disks goes on showing it, as ext4 does; the
//! others show what is on the disk, as XFS does. Memory that connections share lives on the heap, so readers and a
//! writer work together as in production; a process is all that can share it.
//!
//! | module | subject |
//! |---|---|
//! | [`faults`] | what can go wrong, and how often |
//! | `contents` | files: what programs see, and what is on the disk |
//! | `handle` | an open file, as SQLite uses it |
//! | `locks` | who may read and write, and shared memory |
//! | `vfs` | the functions that SQLite calls |

mod contents;
pub mod faults;
mod handle;
mod locks;
mod vfs;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

pub use faults::{Faults, Odds};

use contents::Contents;

/// The disks that there are, by number: the first part of the path of each of their files.
static DISKS: Mutex<Disks> = Mutex::new(Disks {
    made: 0,
    present: BTreeMap::new(),
});

struct Disks {
    made: u64,
    present: BTreeMap<u64, Weak<Mutex<Contents>>>,
}

/// SQLite took no further file system.
#[derive(Debug, thiserror::Error)]
#[error("SQLite does not take the simulated disk (code {code}); is it being shut down?")]
pub struct Error {
    code: i32,
}

/// See the [module](self). Clones are the same disk.
#[derive(Clone)]
pub struct Disk {
    number: u64,
    contents: Arc<Mutex<Contents>>,
}

impl Disk {
    /// An empty disk without faults, whose chance is made from `seed`.
    ///
    /// # Errors
    /// SQLite is being shut down.
    pub fn new(seed: u64) -> Result<Self, Error> {
        vfs::register().map_err(|code| Error { code })?;
        let contents = Arc::new(Mutex::new(Contents::new(seed)));
        let mut disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
        disks.present.retain(|_, disk| disk.strong_count() > 0);
        disks.made += 1;
        let number = disks.made;
        disks.present.insert(number, Arc::downgrade(&contents));
        Ok(Self { number, contents })
    }

    /// The URL of a database in the file `name` of this disk.
    pub fn url(&self, name: &str) -> String {
        let vfs = vfs::NAME.to_string_lossy();
        format!("sqlite:{}?vfs={vfs}", self.path(name))
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.contents().faults = faults;
    }

    /// How many faults have struck.
    pub fn struck(&self) -> u64 {
        self.contents().struck
    }

    /// How many writes there was no room for.
    pub fn refused_writes(&self) -> u64 {
        self.contents().refused_writes
    }

    /// How many syncs have failed.
    pub fn failed_syncs(&self) -> u64 {
        self.contents().failed_syncs
    }

    /// How often the power has failed, by a fault or by [`power_loss`](Self::power_loss).
    pub fn power_losses(&self) -> u64 {
        self.contents().power_losses
    }

    /// How often all open files have died, by a loss of power or the death of a process: who looks at the disk
    /// meanwhile has to open them again.
    pub fn deaths(&self) -> u64 {
        self.contents().generation
    }

    /// The power fails and comes back. What was pending is kept, torn or dropped, and every open file gets I/O errors
    /// until it is closed; who opens one again sees what is left.
    pub fn power_loss(&self) {
        self.contents().power_loss();
    }

    /// As [`power_loss`](Self::power_loss), amid one of the next so many writes, syncs and deletions; which one is drawn. If
    /// there are fewer of them before the next loss of power, nothing comes of it.
    pub fn power_loss_within(&self, operations: u32) {
        self.contents().power_loss_within(operations);
    }

    /// The process that has files open is killed: they get I/O errors, so that nothing more is written, not even by
    /// closing them. What was written is still there, and still pending.
    pub fn process_death(&self) {
        self.contents().process_death();
    }

    /// How many bytes its files have.
    pub fn used(&self) -> u64 {
        self.contents().used()
    }

    /// Overwrites a part of the file `name` with `bytes`, durably, as a failing medium does. Nothing happens when
    /// there is no such file.
    pub fn damage(&self, name: &str, at: usize, bytes: &[u8]) {
        let path = self.path(name);
        self.contents().damage(&path, at, bytes);
    }

    fn path(&self, name: &str) -> String {
        format!("/{}/{name}", self.number)
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

/// The disk on which a file with this path is, if there is one.
fn disk_of(path: &str) -> Option<Arc<Mutex<Contents>>> {
    let (number, _) = path.strip_prefix('/')?.split_once('/')?;
    let number: u64 = number.parse().ok()?;
    let disks = DISKS.lock().unwrap_or_else(PoisonError::into_inner);
    disks.present.get(&number)?.upgrade()
}

/// A panic amid a change leaves a disk like a crash does: in some state.
fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}
