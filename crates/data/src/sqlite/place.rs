//! Where a database is: the file that a URL names, and the file system that SQLite keeps it in.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::{Error, Result};

/// What may stand after `?`.
const PARAMETERS: &[&str] = &["vfs=NAME"];

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    /// The name of one of SQLite's file systems; `None` for that of the machine.
    vfs: Option<String>,
}

impl Place {
    /// `sqlite:` and a path, relative or not, and perhaps `?vfs=` and the name of a file system
    /// that is registered with SQLite.
    pub(crate) fn of(url: &str) -> Result<Self> {
        let scheme = url.split(':').next().unwrap_or_default();
        let unsupported = || Error::UnsupportedUrl {
            scheme: scheme.to_owned(),
        };
        let rest = url.strip_prefix("sqlite:").ok_or_else(unsupported)?;
        let (path, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        if path.is_empty() || path.starts_with(':') {
            return Err(unsupported());
        }
        let mut vfs = None;
        for parameter in parameters.split('&').filter(|text| !text.is_empty()) {
            match parameter.split_once('=') {
                Some(("vfs", name)) if !name.is_empty() => vfs = Some(name.to_owned()),
                _ => return Err(Error::url_parameter(parameter, PARAMETERS)),
            }
        }
        let path = PathBuf::from(path.strip_prefix("//").unwrap_or(path));
        Ok(Self { path, vfs })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file is there, or may be: what is on another file system only shows when it is opened.
    pub(crate) fn exists(&self) -> bool {
        !self.is_plain() || self.path.exists()
    }

    /// Makes the folder of the file, on the machine's own file system.
    pub(super) fn make_folder(&self) -> std::io::Result<()> {
        match (&self.vfs, self.path.parent()) {
            (None, Some(folder)) => std::fs::create_dir_all(folder),
            _ => Ok(()),
        }
    }

    /// Whether it is on the machine's own file system.
    pub(super) fn is_plain(&self) -> bool {
        self.vfs.is_none()
    }

    pub(super) fn connect(&self, access: OpenFlags) -> rusqlite::Result<Connection> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match &self.vfs {
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
            None => Connection::open_with_flags(&self.path, flags),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Place;

    fn place(path: &str, vfs: Option<&str>) -> Place {
        Place {
            path: path.into(),
            vfs: vfs.map(str::to_owned),
        }
    }

    #[test]
    fn a_url_names_a_file_and_perhaps_a_file_system() {
        for (url, expected) in [
            ("sqlite:shop.sqlite", place("shop.sqlite", None)),
            ("sqlite:///var/shop.sqlite", place("/var/shop.sqlite", None)),
            (
                "sqlite:shop.sqlite?vfs=a-disk",
                place("shop.sqlite", Some("a-disk")),
            ),
        ] {
            assert_eq!(Place::of(url).expect(url), expected, "{url}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        for url in [
            "sqlite:x?mode=ro",
            "sqlite:x?vfs=a&mode=ro",
            "sqlite:x?vfs=",
        ] {
            let error = Place::of(url).expect_err(url).to_string();
            let parameter = url.rsplit(['?', '&']).next().expect("there is one");
            assert!(error.contains(parameter), "{error}");
            assert!(error.contains("`vfs=NAME`"), "{error}");
        }
    }
}
