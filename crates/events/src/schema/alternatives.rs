//! A schema as a list of plain ones: each without references and unions, and a document is valid under the schema when
//! it is under one of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// How many alternatives a schema may come to, and how many references may follow each other.
const LIMIT: usize = 256;
const DEPTH: usize = 32;

/// What describes and does not restrict.
const ANNOTATIONS: [&str; 12] = [
    "$schema",
    "$id",
    "$defs",
    "$comment",
    "definitions",
    "title",
    "description",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
];

/// A schema and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
    pub(super) at: String,
}

impl<'a> Node<'a> {
    pub(super) fn root(value: &'a Value) -> Self {
        Self {
            value,
            at: String::new(),
        }
    }

    pub(super) fn child(&self, name: &str, value: &'a Value) -> Self {
        let name = name.replace('~', "~0").replace('/', "~1");
        Self {
            value,
            at: format!("{}/{name}", self.at),
        }
    }

    /// What tells whether the same schema has been here before: where a mere reference points to, else its own place.
    pub(super) fn target(&self) -> String {
        self.value
            .get("$ref")
            .and_then(Value::as_str)
            .map_or_else(|| self.at.clone(), str::to_owned)
    }
}

/// One alternative: all of what it says must hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Plain<'a> {
    pub(super) at: String,
    /// The one type of its documents; any where it names none.
    pub(super) kind: Option<&'a str>,
    pub(super) constant: Option<&'a Value>,
    /// The properties that it names, if it names any.
    pub(super) properties: Option<BTreeMap<&'a str, Node<'a>>>,
    pub(super) required: BTreeSet<&'a str>,
    pub(super) others: BTreeMap<&'a str, Node<'a>>,
    /// Something that this module cannot put into words; a reader of it is not judged.
    pub(super) unclear: bool,
}

impl<'a> Plain<'a> {
    /// Both at once; `None` where nothing can be both.
    fn and(mut self, other: Self) -> Option<Self> {
        if self.says_nothing() {
            self.at = other.at;
        }
        self.kind = match (self.kind, other.kind) {
            (one, None) | (None, one) => one,
            (Some("number"), Some("integer")) => Some("integer"),
            (Some(one), Some(two)) if one == two || (one, two) == ("integer", "number") => {
                self.kind
            }
            _ => return None,
        };
        self.constant = match (self.constant, other.constant) {
            (one, None) | (None, one) => one,
            (Some(one), Some(two)) if one == two => Some(one),
            _ => return None,
        };
        if let Some(properties) = other.properties {
            let all = self.properties.get_or_insert_default();
            for (name, node) in properties {
                match all.get(name) {
                    Some(known) if known.value != node.value => self.unclear = true,
                    _ => drop(all.insert(name, node)),
                }
            }
        }
        self.required.extend(other.required);
        for (name, node) in other.others {
            match self.others.get(name) {
                Some(known) if known.value != node.value => self.unclear = true,
                _ => drop(self.others.insert(name, node)),
            }
        }
        self.unclear |= other.unclear;
        Some(self)
    }

    fn says_nothing(&self) -> bool {
        self.kind.is_none()
            && self.constant.is_none()
            && self.properties.is_none()
            && self.required.is_empty()
            && self.others.is_empty()
    }

    /// The type of its documents, which a constant tells too.
    pub(super) fn kind(&self) -> Option<&'a str> {
        self.kind.or_else(|| {
            self.constant.map(|constant| match constant {
                Value::Null => "null",
                Value::Bool(_) => "boolean",
                Value::Number(number) if number.is_f64() => "number",
                Value::Number(_) => "integer",
                Value::String(_) => "string",
                Value::Array(_) => "array",
                Value::Object(_) => "object",
            })
        })
    }

    pub(super) fn kind_name(&self) -> String {
        self.kind().unwrap_or("anything").to_owned()
    }

    /// What the alternative is called in a message.
    pub(super) fn name(&self) -> String {
        if let Some(constant) = self.constant {
            return format!("the value {constant}");
        }
        let tag = |(name, node): (&&str, &Node<'_>)| {
            let constant = node.value.get("const")?;
            Some(format!("the alternative with {name} {constant}"))
        };
        let properties = self.properties.iter().flatten();
        let tagged = properties.into_iter().find_map(tag);
        let only = || match (self.kind, self.required.first()) {
            (Some("object"), Some(name)) => format!("the alternative with {name}"),
            _ => format!("the alternative {}", self.kind_name()),
        };
        tagged.unwrap_or_else(only)
    }

    /// The value of a keyword.
    pub(super) fn keyword(&self, name: &str) -> Option<&'a Value> {
        self.others.get(name).map(|node| node.value)
    }
}

/// The alternatives of a schema within the document `root`.
pub(super) fn alternatives<'a>(node: &Node<'a>, root: &'a Value) -> Vec<Plain<'a>> {
    expand(node, root, DEPTH)
}

fn expand<'a>(node: &Node<'a>, root: &'a Value, depth: usize) -> Vec<Plain<'a>> {
    let unclear = || {
        vec![Plain {
            at: node.at.clone(),
            unclear: true,
            ..Plain::default()
        }]
    };
    let Some(depth) = depth.checked_sub(1) else {
        return unclear();
    };
    let keywords = match node.value {
        Value::Bool(false) => return Vec::new(),
        Value::Object(keywords) => keywords,
        _ => {
            return vec![Plain {
                at: node.at.clone(),
                ..Plain::default()
            }];
        }
    };
    let mut plain = Plain {
        at: node.at.clone(),
        ..Plain::default()
    };
    let mut unions: Vec<Vec<Plain<'a>>> = Vec::new();
    for (name, value) in keywords {
        let inner = node.child(name, value);
        let each = |value: &'a Value| -> Vec<(usize, &'a Value)> {
            value.as_array().into_iter().flatten().enumerate().collect()
        };
        match name.as_str() {
            "$ref" => unions.push(match resolve(value, root) {
                Some(target) => expand(&target, root, depth),
                None => unclear(),
            }),
            "anyOf" | "oneOf" => unions.push(
                each(value)
                    .into_iter()
                    .flat_map(|(index, value)| {
                        expand(&inner.child(&index.to_string(), value), root, depth)
                    })
                    .collect(),
            ),
            "allOf" => unions.extend(each(value).into_iter().map(|(index, value)| {
                expand(&inner.child(&index.to_string(), value), root, depth)
            })),
            "type" => match value {
                Value::String(kind) => plain.kind = Some(kind),
                kinds => unions.push(
                    each(kinds)
                        .into_iter()
                        .map(|(_, kind)| Plain {
                            at: node.at.clone(),
                            kind: kind.as_str(),
                            ..Plain::default()
                        })
                        .collect(),
                ),
            },
            "const" => plain.constant = Some(value),
            "enum" => unions.push(
                each(value)
                    .into_iter()
                    .map(|(_, value)| Plain {
                        at: node.at.clone(),
                        constant: Some(value),
                        ..Plain::default()
                    })
                    .collect(),
            ),
            "properties" => {
                let named = value.as_object().into_iter().flatten();
                let named = named.map(|(name, value)| (name.as_str(), inner.child(name, value)));
                plain.properties = Some(named.collect());
            }
            "required" => {
                let names = value.as_array().into_iter().flatten();
                plain.required = names.filter_map(Value::as_str).collect();
            }
            name if ANNOTATIONS.contains(&name) || name.starts_with("x-") => {}
            name => drop(plain.others.insert(name, inner)),
        }
    }
    let mut all = vec![plain];
    for union in unions {
        if all.len() * union.len() > LIMIT {
            return unclear();
        }
        let both = |one: &Plain<'a>| {
            let one = one.clone();
            union
                .iter()
                .filter_map(move |two| one.clone().and(two.clone()))
                .collect::<Vec<_>>()
        };
        all = all.iter().flat_map(both).collect();
    }
    all
}

/// The schema that a reference within the document points to.
fn resolve<'a>(reference: &Value, root: &'a Value) -> Option<Node<'a>> {
    let pointer = reference.as_str()?.strip_prefix('#')?;
    Some(Node {
        value: root.pointer(pointer)?,
        at: pointer.to_owned(),
    })
}
