//! Typed configuration: a file, then environment variables, then flags; the later one wins.
//!
//! Values are merged into one TOML table and then read into the caller's own type, which should use
//! `#[serde(deny_unknown_fields, default)]`. A wrong key or value is an error that names the key, where
//! it came from, and the nearest key that exists. A file can be [`Watched`] for changes.

mod values;
mod watched;

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use toml::{Table, Value};

pub use values::{Share, Time, share, time};
pub use watched::Watched;

/// Why a configuration could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is there but cannot be read.
    #[error("cannot read {}; check that it is a file and that you may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not valid TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin} sets `{key}`, which does not exist{}", hint(nearest))]
    UnknownKey {
        /// The key, with dots.
        key: String,
        /// The file, variable or flag that sets it.
        origin: String,
        /// The key that was probably meant.
        nearest: Option<String>,
    },
    /// A value that its key cannot have.
    #[error("{origin} sets `{key}` wrongly: {reason}")]
    InvalidValue {
        /// The key, with dots.
        key: String,
        /// The file, variable or flag that sets it.
        origin: String,
        /// What the value must be.
        reason: String,
    },
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}

/// Collects settings, the weakest first, and reads them into a type.
///
/// ```
/// # use outrigger_env::config::Loader;
/// #[derive(serde::Serialize, serde::Deserialize, Default)]
/// #[serde(deny_unknown_fields, default)]
/// struct Settings { port: u16 }
///
/// let settings: Settings = Loader::default()
///     .variables("SHOP_", [("SHOP_PORT".to_owned(), "9000".to_owned())])
///     .load()?;
/// assert_eq!(settings.port, 9000);
///
/// let typo = Loader::default().flag("prot", "9000").load::<Settings>();
/// assert!(typo.is_err_and(|error| error.to_string().contains("did you mean `port`?")));
/// # Ok::<(), outrigger_env::config::Error>(())
/// ```
#[derive(Default)]
pub struct Loader {
    settings: Vec<Setting>,
}

struct Setting {
    path: Vec<String>,
    value: Value,
    origin: String,
}

impl Loader {
    /// Adds the file at `path`, if there is one.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and [`Error::Syntax`].
    pub fn file(self, path: &Path) -> Result<Self, Error> {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(self),
            Err(source) => Err(Error::Unreadable {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Adds the TOML document `text`, which came from `path`.
    ///
    /// # Errors
    /// [`Error::Syntax`].
    pub fn text(mut self, path: &Path, text: &str) -> Result<Self, Error> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| Error::Syntax {
                path: path.to_owned(),
                reason: error.to_string(),
            })?;
        self.add_table(&mut Vec::new(), table, &path.display().to_string());
        Ok(self)
    }

    fn add_table(&mut self, path: &mut Vec<String>, table: Table, origin: &str) {
        for (key, value) in table {
            path.push(key);
            match value {
                Value::Table(inner) => self.add_table(path, inner, origin),
                value => self.settings.push(Setting {
                    path: path.clone(),
                    value,
                    origin: origin.to_owned(),
                }),
            }
            path.pop();
        }
    }

    /// Adds every variable that begins with `prefix`; `__` stands for the dot between two keys:
    /// `OUTRIGGER_MESSAGING__MAX_DELIVERIES` sets `messaging.max_deliveries`.
    #[must_use]
    pub fn variables(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        for (name, text) in variables {
            if let Some(key) = name.strip_prefix(prefix) {
                let path = key
                    .to_ascii_lowercase()
                    .split("__")
                    .map(str::to_owned)
                    .collect();
                self.settings.push(Setting {
                    path,
                    value: guess(&text),
                    origin: name,
                });
            }
        }
        self
    }

    /// Adds one setting from the command line; `key` has dots between its parts.
    #[must_use]
    pub fn flag(mut self, key: &str, text: &str) -> Self {
        let path = key.split('.').map(str::to_owned).collect();
        self.settings.push(Setting {
            path,
            value: guess(text),
            origin: format!("--{key}"),
        });
        self
    }

    /// Reads all that was added over the defaults of `T`.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] and [`Error::InvalidValue`].
    pub fn load<T: DeserializeOwned + Serialize + Default>(self) -> Result<T, Error> {
        let mut merged = defaults::<T>();
        let known = key_names(&merged);
        for Setting {
            path,
            value,
            origin,
        } in self.settings
        {
            let key = path.join(".");
            set(&mut merged, &path, value);
            if let Err(error) = T::deserialize(Value::Table(merged.clone())) {
                let reason = error.message().trim().to_owned();
                return Err(if reason.contains("unknown field") {
                    let known = [known, siblings(&path, &reason)].concat();
                    let nearest = nearest(&key, known.iter().map(String::as_str));
                    let nearest = nearest.map(str::to_owned);
                    Error::UnknownKey {
                        key,
                        origin,
                        nearest,
                    }
                } else {
                    Error::InvalidValue {
                        key,
                        origin,
                        reason,
                    }
                });
            }
        }
        T::deserialize(Value::Table(merged)).map_err(|error| Error::InvalidValue {
            key: "(whole)".to_owned(),
            origin: "configuration".to_owned(),
            reason: error.message().to_owned(),
        })
    }
}

fn defaults<T: Serialize + Default>() -> Table {
    Table::try_from(T::default()).unwrap_or_default()
}

/// A variable or a flag has no type of its own: it is what TOML would read it as, else a string.
fn guess(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn set(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let inner = table
                .entry(key.clone())
                .or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

fn key_names(table: &Table) -> Vec<String> {
    table
        .iter()
        .flat_map(|(key, value)| match value {
            Value::Table(inner) if !inner.is_empty() => key_names(inner)
                .into_iter()
                .map(|rest| format!("{key}.{rest}"))
                .collect(),
            _ => vec![key.clone()],
        })
        .collect()
}

/// What `path` would be with another key in place of the unknown one, also one that has no value by default: serde's error
/// lists them.
fn siblings(path: &[String], reason: &str) -> Vec<String> {
    let mut quoted = reason.split('`').skip(1).step_by(2);
    let unknown = quoted.next();
    match path.iter().rposition(|key| Some(key.as_str()) == unknown) {
        Some(place) => quoted
            .map(|name| [&path[..place], &[name.to_owned()], &path[place + 1..]].concat())
            .map(|path| path.join("."))
            .collect(),
        None => Vec::new(),
    }
}

/// The one of the `known` names that was probably meant by `name`, when one is close enough.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A value that never prints: keys, passwords, database URLs with credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself; keep it out of logs and errors.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[secret]")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}
