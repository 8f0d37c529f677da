//! A file that is looked at again and again, so that what it says holds without a restart.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::clock::sleep;

/// How often the file is read. Reading finds a change on every file system, network mounts and the linked folders of
/// Kubernetes included, where notices of the system do not.
const EVERY: Duration = Duration::from_secs(1);

/// A watched file. A change counts once two looks have found the same, so that one that is being written is not read half.
#[derive(Debug)]
pub struct Watched {
    path: PathBuf,
    /// What was told last; `None` for no file.
    told: Option<String>,
    seen: Option<String>,
}

impl Watched {
    /// Watches the file at `path`, from what it says now on. It need not be there.
    pub fn new(path: &Path) -> Self {
        let told = read(path);
        Self {
            path: path.to_owned(),
            seen: told.clone(),
            told,
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until the file says something else, which is told within two seconds.
    pub async fn changed(&mut self) {
        loop {
            sleep(EVERY).await;
            let found = read(&self.path);
            let settled = found == self.seen;
            self.seen = found;
            if settled && self.seen != self.told {
                self.told.clone_from(&self.seen);
                return;
            }
        }
    }
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}
