//! Whether a reader of one plain schema takes what is written under another.

use serde_json::Value;

use super::{
    alternatives::{Node, Plain},
    bounds,
    compatibility::{Comparison, Finding, Pass, finding},
};

/// A schema that takes anything.
static ANYTHING: Value = Value::Bool(true);

/// What of `writer` the schema `reader` does not take; `None` where they have nothing to do with each other, being of
/// different types or tags.
pub(super) fn compare<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    reader: &Plain<'a>,
) -> Option<Vec<Finding>> {
    if !same_kind(writer, reader) || !same_tags(writer, reader) {
        return None;
    }
    let mut found = Vec::new();
    let at = comparison.pointer(&writer.at, &reader.at);
    if reader.unclear {
        let (is, was) = ("something that cannot be compared", "something else");
        found.push(finding(at.clone(), "the schema", was, is));
    }
    if let Some(constant) = reader.constant {
        match writer.constant {
            Some(written) if written == constant => return Some(found),
            _ => return None,
        }
    }
    for narrower in bounds::narrower(writer, reader) {
        let (written, read) = (&narrower.writer, &narrower.reader);
        found.push(finding(at.clone(), narrower.aspect, written, read));
    }
    for (name, node) in &reader.others {
        keyword(comparison, writer, reader, name, node, &mut found);
    }
    properties(comparison, writer, reader, &mut found);
    Some(found)
}

fn same_kind(writer: &Plain<'_>, reader: &Plain<'_>) -> bool {
    match (writer.kind(), reader.kind) {
        (_, None) => true,
        (Some(written), Some(read)) => written == read || (written, read) == ("integer", "number"),
        (None, Some(_)) => false,
    }
}

/// Whether no property that is a constant for both is another constant: such are the tags of an enumeration.
fn same_tags(writer: &Plain<'_>, reader: &Plain<'_>) -> bool {
    let constant = |node: &Node<'_>| node.value.get("const").cloned();
    let (Some(written), Some(read)) = (&writer.properties, &reader.properties) else {
        return true;
    };
    read.iter().all(|(name, node)| {
        let (read, written) = (constant(node), written.get(name).and_then(constant));
        read.is_none() || written.is_none() || read == written
    })
}

/// Judges one keyword of the reader that is neither a bound nor about named properties.
fn keyword<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    reader: &Plain<'a>,
    name: &str,
    node: &Node<'a>,
    found: &mut Vec<Finding>,
) {
    let written = writer.others.get(name);
    match name {
        _ if bounds::KEYWORDS.contains(&name) => {}
        "additionalProperties" => others(comparison, writer, reader, node, found),
        "items" => {
            let anything = Node {
                value: &ANYTHING,
                at: format!("{}/items", writer.at),
            };
            found.extend(comparison.compare(written.unwrap_or(&anything), node));
        }
        "patternProperties" => patterns(comparison, writer, node, found),
        "prefixItems" => tuple(comparison, writer, node, found),
        "format" if is_range(node.value) => {}
        "format" if node.value == "double" && written.is_some_and(|w| w.value == "float") => {}
        "uniqueItems" if node.value == &Value::Bool(false) => {}
        _ if written.is_some_and(|written| comparison.same(written.value, node.value)) => {}
        _ => {
            let at = comparison.pointer(&writer.at, &reader.at);
            let was = written.map_or("none".to_owned(), |written| shown(written.value));
            found.push(finding(at, format!("the {name}"), &was, &shown(node.value)));
        }
    }
}

fn is_range(format: &Value) -> bool {
    format
        .as_str()
        .is_some_and(|format| bounds::integers(format).is_some())
}

fn shown(value: &Value) -> String {
    const LONGEST: usize = 60;
    let text = value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Each place of a tuple that the writer fills.
fn tuple<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    read: &Node<'a>,
    found: &mut Vec<Finding>,
) {
    let written = writer.others.get("prefixItems");
    let most = writer.keyword("maxItems").and_then(Value::as_u64);
    let rest = writer.keyword("items").unwrap_or(&ANYTHING);
    for (index, value) in read.value.as_array().into_iter().flatten().enumerate() {
        if most.is_some_and(|most| most <= index as u64) {
            break;
        }
        let name = index.to_string();
        let from = written
            .and_then(|written| Some(written.child(&name, written.value.get(index)?)))
            .unwrap_or_else(|| Node {
                value: rest,
                at: format!("{}/items", writer.at),
            });
        found.extend(comparison.compare(&from, &read.child(&name, value)));
    }
}

/// The properties whose names the reader knows by a pattern: the writer must know them by the same one.
fn patterns<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    read: &Node<'a>,
    found: &mut Vec<Finding>,
) {
    let written = writer.others.get("patternProperties");
    for (pattern, value) in read.value.as_object().into_iter().flatten() {
        let read = read.child(pattern, value);
        match written.and_then(|written| Some(written.child(pattern, written.value.get(pattern)?)))
        {
            Some(written) => found.extend(comparison.compare(&written, &read)),
            None => {
                let at = comparison.pointer(&writer.at, &read.at);
                found.push(finding(
                    at,
                    format!("the pattern {pattern}"),
                    "absent",
                    "read",
                ));
            }
        }
    }
}

/// The properties that either names.
fn properties<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    reader: &Plain<'a>,
    found: &mut Vec<Finding>,
) {
    for name in reader.required.difference(&writer.required) {
        let named = writer
            .properties
            .as_ref()
            .is_some_and(|named| named.contains_key(name));
        let was = if named { "optional" } else { "absent" };
        found.push(finding(
            place(comparison, writer, reader, name),
            "the property",
            was,
            "required",
        ));
    }
    for (name, written) in writer.properties.iter().flatten() {
        match reader.properties.as_ref().and_then(|named| named.get(name)) {
            Some(read) => found.extend(comparison.compare(written, read)),
            None if comparison.pass == Pass::Stored => {
                let was = if writer.required.contains(name) {
                    "required"
                } else {
                    "optional"
                };
                let at = place(comparison, writer, reader, name);
                found.push(finding(at, "the property", was, "absent"));
            }
            None => {
                let at = place(comparison, writer, reader, name);
                match reader.keyword("additionalProperties") {
                    None | Some(Value::Bool(true)) => {}
                    Some(Value::Bool(false)) => {
                        found.push(finding(at, "the property", "added", "refused"));
                    }
                    Some(_) => {
                        found.push(finding(at, "the property", "added", "read as any other"));
                    }
                }
            }
        }
    }
    // Where the writer may write any name, it may write one that the reader knows.
    if let Some(extra) = unnamed(writer, reader) {
        for (name, read) in reader.properties.iter().flatten() {
            if writer
                .properties
                .as_ref()
                .is_none_or(|named| !named.contains_key(name))
            {
                found.extend(comparison.compare(&extra, read));
            }
        }
    }
}

/// Where a property is, or would be, in the old schema.
fn place(
    comparison: &Comparison<'_>,
    writer: &Plain<'_>,
    reader: &Plain<'_>,
    name: &str,
) -> String {
    let at = comparison.pointer(&writer.at, &reader.at);
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{at}/properties/{name}")
}

/// What the writer may write under names of its choice.
fn unnamed<'a>(writer: &Plain<'a>, reader: &Plain<'a>) -> Option<Node<'a>> {
    let anything = || {
        Some(Node {
            value: &ANYTHING,
            at: format!("{}/additionalProperties", writer.at),
        })
    };
    let by_pattern = writer.keyword("patternProperties");
    if by_pattern.is_some() && by_pattern != reader.keyword("patternProperties") {
        return anything();
    }
    match writer.others.get("additionalProperties") {
        Some(node) if node.value == &Value::Bool(false) => None,
        Some(node) => Some(node.clone()),
        None if by_pattern.is_some() || writer.properties.is_some() => None,
        None if writer.kind().is_none_or(|kind| kind == "object") => anything(),
        None => None,
    }
}

/// What the reader makes of names that it does not know.
fn others<'a>(
    comparison: &mut Comparison<'a>,
    writer: &Plain<'a>,
    reader: &Plain<'a>,
    read: &Node<'a>,
    found: &mut Vec<Finding>,
) {
    // A property that is added later, which the new schema would allow, is refused by the reader that is older still.
    let opened = comparison.pass == Pass::Written
        && read.value == &Value::Bool(false)
        && !writer.others.contains_key("additionalProperties");
    if opened {
        let at = comparison.pointer(&writer.at, &reader.at);
        found.push(finding(at, "any other property", "passed over", "refused"));
    }
    if let Some(extra) = unnamed(writer, reader) {
        if read.value == &Value::Bool(false) {
            let at = comparison.pointer(&writer.at, &reader.at);
            found.push(finding(at, "any other property", "allowed", "refused"));
        } else {
            found.extend(comparison.compare(&extra, read));
        }
    }
}
