//! Whether two schemas can stand for one version of a message (G12).
//!
//! While a system is rolled out, and for as long as messages are stored, old and new code read each other's messages.
//! So a change within a version must leave both directions intact:
//!
//! - a **new reader** takes every stored message that was written under the old schema;
//! - an **old reader** takes every message that is written under the new one.
//!
//! A writer writes the properties that its schema names and no others, unless the schema says so with
//! `additionalProperties`; a reader passes over properties that it does not know. That is why a property may be added
//! if it is optional. None may go, not even an optional one: a later property of its name would be taken for it in
//! messages that are still stored, and no comparison of two schemas would show that. With this rule compatibility is
//! transitive: what follows from a chain of accepted changes is compatible with its beginning.
//!
//! What cannot be compared (`not`, `if`, patterns) must stay as it is. `title`, `description`, `default` and the other
//! annotations may change freely. `oneOf` is read as `anyOf`, as serde reads it.

use std::{collections::BTreeSet, fmt};

use serde_json::Value;

use super::{
    alternatives::{Node, Plain, alternatives},
    plain,
};

/// A difference between two schemas, and whom it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incompatibility {
    /// Where in the old schema, or in the new one what the old one lacks: a JSON pointer.
    pub pointer: String,
    /// What differs: `the type`, `the property`, `the minimum`.
    pub aspect: String,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
    /// New readers cannot take messages that were stored under the old schema.
    pub breaks_new_readers: bool,
    /// Old readers cannot take messages that are written under the new schema.
    pub breaks_old_readers: bool,
}

impl fmt::Display for Incompatibility {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pointer,
            aspect,
            old,
            new,
            ..
        } = self;
        write!(f, "{pointer}: {aspect} was {old}, is {new}; ")?;
        f.write_str(match (self.breaks_new_readers, self.breaks_old_readers) {
            (true, false) => "new readers cannot take what is stored",
            (false, true) => "old readers cannot take what is written from now on",
            _ => {
                "new readers cannot take what is stored, nor old readers what is written from now on"
            }
        })
    }
}

/// What keeps `new` from standing for the same version as `old`; empty where nothing does.
pub fn incompatibilities(old: &Value, new: &Value) -> Vec<Incompatibility> {
    let mut found: Vec<Incompatibility> = Vec::new();
    if old == new {
        return found;
    }
    for Finding {
        pointer,
        aspect,
        writer,
        reader,
    } in Comparison::run(Pass::Stored, old, new)
    {
        found.push(Incompatibility {
            pointer,
            aspect,
            old: writer,
            new: reader,
            breaks_new_readers: true,
            breaks_old_readers: false,
        });
    }
    for Finding {
        pointer,
        aspect,
        writer,
        reader,
    } in Comparison::run(Pass::Written, new, old)
    {
        let same = found.iter_mut().find(|known| {
            (&known.pointer, &known.aspect, &known.old, &known.new)
                == (&pointer, &aspect, &reader, &writer)
        });
        match same {
            Some(known) => known.breaks_old_readers = true,
            None => found.push(Incompatibility {
                pointer,
                aspect,
                old: reader,
                new: writer,
                breaks_new_readers: false,
                breaks_old_readers: true,
            }),
        }
    }
    found
}

/// What keeps a reader that has `reader` from taking what a writer that has `writer` writes, one line each.
pub fn unread(writer: &Value, reader: &Value) -> Vec<String> {
    Comparison::run(Pass::Written, writer, reader)
        .into_iter()
        .map(|found| {
            let Finding {
                pointer,
                aspect,
                writer,
                reader,
            } = found;
            format!(
                "{pointer}: {aspect} is {writer} where it is written, {reader} where it is read"
            )
        })
        .collect()
}

/// Which direction is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// The old schema writes, the new one reads.
    Stored,
    /// The new schema writes, the old one reads.
    Written,
}

/// Something that a reader does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) pointer: String,
    pub(super) aspect: String,
    pub(super) writer: String,
    pub(super) reader: String,
}

/// A comparison under way.
pub(super) struct Comparison<'a> {
    pub(super) pass: Pass,
    writer: &'a Value,
    reader: &'a Value,
    /// The pairs that are being compared: where a type contains itself, what holds around it holds within.
    open: BTreeSet<(String, String)>,
}

impl<'a> Comparison<'a> {
    fn run(pass: Pass, writer: &'a Value, reader: &'a Value) -> Vec<Finding> {
        let mut comparison = Self {
            pass,
            writer,
            reader,
            open: BTreeSet::new(),
        };
        comparison.compare(&Node::root(writer), &Node::root(reader))
    }

    /// What of `writer` the schema `reader` does not take.
    pub(super) fn compare(&mut self, writer: &Node<'a>, reader: &Node<'a>) -> Vec<Finding> {
        let written = alternatives(writer, self.writer);
        let read = alternatives(reader, self.reader);
        let pair = (writer.target(), reader.target());
        if !self.open.insert(pair.clone()) {
            return Vec::new();
        }
        let mut found = Vec::new();
        for one in &written {
            for finding in self.one(one, &read, written.len() > 1, reader) {
                if !found.contains(&finding) {
                    found.push(finding);
                }
            }
        }
        self.open.remove(&pair);
        found
    }

    /// What no schema of `read` takes of the alternative `one`.
    fn one(
        &mut self,
        one: &Plain<'a>,
        read: &[Plain<'a>],
        several: bool,
        reader: &Node<'a>,
    ) -> Vec<Finding> {
        let mut nearest: Option<Vec<Finding>> = None;
        for candidate in read {
            let Some(found) = plain::compare(self, one, candidate) else {
                continue;
            };
            if found.is_empty() {
                return found;
            }
            if nearest.as_ref().is_none_or(|best| found.len() < best.len()) {
                nearest = Some(found);
            }
        }
        match nearest {
            Some(found) => found,
            None if several || read.len() > 1 || read.iter().any(|r| r.kind() == one.kind()) => {
                let pointer = self.pointer(&one.at, &reader.at);
                vec![finding(pointer, one.name(), "allowed", "unknown")]
            }
            None => {
                let pointer = self.pointer(&one.at, &reader.at);
                let known = read.first().map_or("nothing".to_owned(), Plain::kind_name);
                vec![finding(pointer, "the type", &one.kind_name(), &known)]
            }
        }
    }

    /// Whether both say the same, which references within them may mean differently.
    pub(super) fn same(&self, written: &Value, read: &Value) -> bool {
        let refers = || written.to_string().contains("\"$ref\"");
        written == read && (!refers() || self.writer.get("$defs") == self.reader.get("$defs"))
    }

    /// Where something is in the old schema.
    pub(super) fn pointer(&self, writer: &str, reader: &str) -> String {
        match self.pass {
            Pass::Stored => writer.to_owned(),
            Pass::Written => reader.to_owned(),
        }
    }
}

pub(super) fn finding(
    pointer: String,
    aspect: impl Into<String>,
    writer: &str,
    reader: &str,
) -> Finding {
    let pointer = match pointer.as_str() {
        "" => "/".to_owned(),
        _ => pointer,
    };
    Finding {
        pointer,
        aspect: aspect.into(),
        writer: writer.to_owned(),
        reader: reader.to_owned(),
    }
}
