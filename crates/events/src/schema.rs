//! The JSON Schema of a message: its contract with readers that are older, newer, or written in another language.
//!
//! A schema says what a reader takes. It is made from the type by `schemars`, has an `$id` (for an event the one that
//! its `dataschema` names), and is written in one order, so that a file of it changes only when the contract does.
//!
//! | module | subject |
//! |---|---|
//! | [`compatibility`] | whether two schemas can stand for one version |
//! | `alternatives.rs` | a schema as a list of plain ones, without references and unions |
//! | `plain.rs` | whether a reader of one plain schema takes what another describes |
//! | `bounds.rs` | ranges of numbers, lengths and counts |

mod alternatives;
mod bounds;
pub mod compatibility;
mod plain;

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value};

use crate::Event;

pub use compatibility::{Incompatibility, incompatibilities, unread};

/// The URI of the schema of `E`, which its events name in `dataschema`: `urn:outrigger:event:order.created:1`.
pub fn uri<E: Event>() -> String {
    event_uri(E::TYPE, E::VERSION)
}

/// The URI of the schema of a type of event in a version.
pub fn event_uri(kind: &str, version: u32) -> String {
    format!("{EVENT}{kind}:{version}")
}

/// What the URI of the schema of an event begins with.
pub(crate) const EVENT: &str = "urn:outrigger:event:";

/// The schema of `T` with `id` as its `$id`, by JSON Schema 2020-12.
pub fn of<T: JsonSchema>(id: &str) -> Value {
    let schema = SchemaSettings::draft2020_12()
        .into_generator()
        .into_root_schema_for::<T>();
    let mut schema = ordered(schema.into());
    if let Value::Object(keywords) = &mut schema {
        keywords.insert("$id".to_owned(), id.into());
    }
    ordered(schema)
}

/// The text of a schema as it is committed: indented, its keys and lists of required properties sorted.
pub fn text(schema: &Value) -> String {
    format!("{:#}\n", ordered(schema.clone()))
}

/// The same schema in the one order in which it is written.
fn ordered(schema: Value) -> Value {
    match schema {
        Value::Object(keywords) => {
            let mut keywords: Vec<_> = keywords.into_iter().collect();
            keywords.sort_by(|(left, _), (right, _)| left.cmp(right));
            let keywords = keywords.into_iter().map(|(name, value)| {
                let mut value = ordered(value);
                if let ("required", Value::Array(names)) = (name.as_str(), &mut value) {
                    names.sort_by(|left, right| left.as_str().cmp(&right.as_str()));
                }
                (name, value)
            });
            Value::Object(keywords.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(ordered).collect()),
        other => other,
    }
}
