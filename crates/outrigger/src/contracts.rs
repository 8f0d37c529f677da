//! The committed contracts of a system: one file with the JSON Schema of each message, and what a description changes
//! of them (G12).
//!
//! The files are what readers that are running, and messages that are stored, were made for. So a description is held
//! against them, a compatible change is written down when somebody accepts it, and an incompatible one never is: it
//! needs a new version, whose file stands beside the old one.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    path::{Path, PathBuf},
};

use events::schema::{self, Incompatibility};
use serde_json::Value;

use crate::{
    Error, Result, System,
    messages::{Message, Name},
};

/// What differs between a description and the committed contracts.
#[derive(Debug, Clone, PartialEq)]
pub enum Difference {
    /// A message without a file.
    New {
        /// The message.
        name: Name,
        /// The file that it should have.
        file: PathBuf,
    },
    /// A file whose message nobody publishes or takes any more.
    Removed {
        /// The file.
        file: PathBuf,
    },
    /// A change that no reader minds.
    Compatible {
        /// The message.
        name: Name,
        /// Its file, as it was.
        file: PathBuf,
    },
    /// A change that breaks a reader.
    Incompatible {
        /// The message.
        name: Name,
        /// Its file.
        file: PathBuf,
        /// What breaks whom.
        found: Vec<Incompatibility>,
        /// The first version that the event has not had yet; 0 for a command.
        next: u32,
    },
    /// A file that is no JSON.
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A service that reads an event with a type of its own, which does not take all that is written.
    Misread {
        /// The event.
        name: Name,
        /// The reader.
        reader: String,
        /// What it does not take.
        found: Vec<String>,
    },
}

impl Difference {
    /// Whether [`accept`] deals with it.
    pub fn is_acceptable(&self) -> bool {
        matches!(self, Self::New { .. } | Self::Compatible { .. })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::New { name, file } => write!(
                f,
                "{name} has no committed contract; `check --accept` writes {}",
                file.display()
            ),
            Self::Removed { file } => write!(
                f,
                "{} is of a message that nobody publishes or takes any more; those that are stored would become \
                 dead letters. Keep a handler for it, or delete the file when none are left",
                file.display()
            ),
            Self::Compatible { name, file } => write!(
                f,
                "{name} has changed in a way that every reader can take; `check --accept` writes {}",
                file.display()
            ),
            Self::Incompatible {
                name,
                file,
                found,
                next,
            } => {
                write!(f, "{name} is no longer what {} says", file.display())?;
                for found in found {
                    write!(f, "\n    {found}")?;
                }
                match name {
                    Name::Event { .. } => write!(
                        f,
                        "\n  Take the change back, or give it version {next} in a struct of its own: let readers \
                         handle both versions first, then publish the new one"
                    ),
                    Name::Command { .. } | Name::Reply { .. } => f.write_str(
                        "\n  Take the change back, or make it a new action: let the service do both first, then \
                         send the new one",
                    ),
                }
            }
            Self::Unreadable { file, reason } => write!(
                f,
                "{} cannot be read: {reason}; restore it from version control",
                file.display()
            ),
            Self::Misread {
                name,
                reader,
                found,
            } => {
                write!(f, "{reader} cannot take every {name} that is published")?;
                found
                    .iter()
                    .try_for_each(|line| write!(f, "\n    {line}"))?;
                f.write_str("\n  Let it handle the publisher's type, or ask for less")
            }
        }
    }
}

/// Compares the messages of `system` with the contracts in `folder`.
///
/// # Errors
/// [`Error::Contracts`]. A folder that does not exist holds no contracts.
pub fn compare(system: &System, folder: &Path) -> Result<Vec<Difference>> {
    let mut committed = files(folder).map_err(failed(folder))?;
    let contracts = contracts(system);
    let mut found = misread(system, &contracts);
    for (name, current) in &contracts {
        let file = folder.join(file_name(*name));
        let Some(text) = committed.remove(&file) else {
            found.push(Difference::New { name: *name, file });
            continue;
        };
        let was: Value = match serde_json::from_str(&text) {
            Ok(was) => was,
            Err(error) => {
                let reason = error.to_string();
                found.push(Difference::Unreadable { file, reason });
                continue;
            }
        };
        let broken = schema::incompatibilities(&was, current);
        if !broken.is_empty() {
            found.push(Difference::Incompatible {
                name: *name,
                file,
                found: broken,
                next: next_version(*name, &contracts),
            });
        } else if text != schema::text(current) {
            found.push(Difference::Compatible { name: *name, file });
        }
    }
    found.extend(
        committed
            .into_keys()
            .map(|file| Difference::Removed { file }),
    );
    Ok(found)
}

/// Writes the contracts of what is new and of what has changed compatibly; the files that were written.
///
/// # Errors
/// [`Error::Contracts`].
pub fn accept(system: &System, folder: &Path) -> Result<Vec<PathBuf>> {
    let contracts = contracts(system);
    let mut written = Vec::new();
    fs::create_dir_all(folder).map_err(failed(folder))?;
    for difference in compare(system, folder)? {
        if let Difference::New { name, file } | Difference::Compatible { name, file } = difference
            && let Some(contract) = contracts.get(&name)
        {
            fs::write(&file, schema::text(contract)).map_err(failed(&file))?;
            written.push(file);
        }
    }
    Ok(written)
}

fn file_name(name: Name) -> String {
    format!("{}.json", name.slug())
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Contracts { path, source }
}

/// The contract of each message: as its publisher has it, or the service that does the command; of an event that comes
/// from elsewhere, as its first reader has it.
fn contracts(system: &System) -> BTreeMap<Name, Value> {
    let messages = || {
        system
            .services()
            .iter()
            .map(|service| service.declared_messages())
    };
    let own = messages().flat_map(|messages| messages.published.iter().chain(&messages.commands));
    let foreign = messages().flat_map(|messages| &messages.handled);
    let mut contracts = BTreeMap::new();
    for message in own.chain(foreign) {
        contracts
            .entry(message.name())
            .or_insert_with(|| message.schema());
    }
    contracts
}

/// The readers that do not take what the contract of an event allows.
fn misread(system: &System, contracts: &BTreeMap<Name, Value>) -> Vec<Difference> {
    let readers = system.services().iter().flat_map(|service| {
        let handled = service.declared_messages().handled.iter();
        handled.map(move |message: &Message| (service.name(), message))
    });
    readers
        .filter_map(|(reader, message)| {
            let found = schema::unread(contracts.get(&message.name())?, &message.schema());
            (!found.is_empty()).then(|| Difference::Misread {
                name: message.name(),
                reader: reader.to_owned(),
                found,
            })
        })
        .collect()
}

fn next_version(name: Name, contracts: &BTreeMap<Name, Value>) -> u32 {
    let Name::Event { kind, .. } = name else {
        return 0;
    };
    let versions: BTreeSet<u32> = contracts
        .keys()
        .filter_map(|known| match known {
            Name::Event {
                kind: other,
                version,
            } if *other == kind => Some(*version),
            _ => None,
        })
        .collect();
    versions.last().map_or(1, |last| last.saturating_add(1))
}

/// The files of contracts and their texts.
fn files(folder: &Path) -> io::Result<BTreeMap<PathBuf, String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        entries => entries?,
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = fs::read_to_string(&path)?;
            files.insert(path, text);
        }
    }
    Ok(files)
}
