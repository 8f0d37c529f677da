//! Where a server's programs are, and as whom they run.

use std::{
    env, fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

/// The first folder of `PATH`, or else of `more`, that has the program.
pub(crate) fn find(program: &str, more: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(more)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// A user of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct User {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl User {
    /// Whom to become before the server starts: `name` when we are root, who has just made
    /// `folder`; nobody else otherwise.
    pub(crate) fn instead_of_root(
        folder: &Path,
        name: &'static str,
    ) -> Result<Option<Self>, Error> {
        let owner = fs::metadata(folder).map_err(Error::Folder)?;
        if owner.uid() != 0 {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(Error::Folder)?;
        users
            .lines()
            .find_map(|line| Self::parse(line, name))
            .map(Some)
            .ok_or(Error::NoUser { user: name })
    }

    /// `name:x:uid:gid:…`
    fn parse(line: &str, name: &str) -> Option<Self> {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let mut numbers = fields.skip(1).map(str::parse);
        Some(Self {
            uid: numbers.next()?.ok()?,
            gid: numbers.next()?.ok()?,
        })
    }
}

/// A command that runs as `user` and reads nothing.
pub(crate) fn command(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    if let Some(User { uid, gid }) = user {
        command.uid(uid).gid(gid);
    }
    // A folder that everybody may enter: our own may be closed to that user.
    command.current_dir("/").stdin(Stdio::null());
    command
}

/// Runs a command to its end; what it printed is its error.
pub(crate) fn run(mut command: Command) -> Result<(), Error> {
    let output = command.output().map_err(Error::Folder)?;
    if output.status.success() {
        return Ok(());
    }
    Err(Error::Failed {
        program: command.get_program().to_string_lossy().into_owned(),
        said: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}
