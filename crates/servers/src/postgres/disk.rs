//! A disk of its own for a database, which is full when a test says so.

use std::{fs, io, io::Write, path::PathBuf};

use super::Postgres;
use crate::{
    Error,
    programs::{command, run},
};

/// Room for a database as it is made, and a little more.
const SIZE: &str = "32m";

/// Written at once when a disk is filled.
const CHUNK: usize = 4096;

/// The disk of a database. It goes with its server.
pub struct SmallDisk {
    url: String,
    ballast: PathBuf,
}

impl Postgres {
    /// Makes a new, empty database whose tables are on a small disk of their own; the log of the server is not. Call it
    /// once a server.
    ///
    /// # Errors
    /// [`Error::Failed`], with `mount` as the program where no file system may be mounted: it needs root.
    pub async fn database_on_a_small_disk(&self, name: &str) -> Result<SmallDisk, Error> {
        let disk = self.folder.join(crate::guard::DISK);
        fs::create_dir(&disk).map_err(Error::Folder)?;
        let mut mount = command("mount".as_ref(), None);
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"]);
        mount.arg(&disk);
        run(mount)?;
        let space = disk.join("tables");
        fs::create_dir(&space).map_err(Error::Folder)?;
        super::hand_over(&space, self.user)?;
        self.sql(&format!(
            "CREATE TABLESPACE small LOCATION '{}'",
            space.display()
        ))?;
        self.sql(&format!("CREATE DATABASE \"{name}\" TABLESPACE small"))?;
        Ok(SmallDisk {
            url: self.url_of(name),
            ballast: disk.join("ballast"),
        })
    }
}

impl SmallDisk {
    /// The URL of the database.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fills the disk: not another page fits.
    ///
    /// # Errors
    /// Whatever else the system refuses.
    pub fn fill(&self) -> Result<(), Error> {
        let mut file = fs::File::create(&self.ballast).map_err(Error::Folder)?;
        loop {
            match file.write_all(&[0; CHUNK]) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(Error::Folder(error)),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn make_room(&self) -> Result<(), Error> {
        fs::remove_file(&self.ballast).map_err(Error::Folder)
    }
}
