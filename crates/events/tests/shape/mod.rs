//! Types of messages as values: each has a schema, documents that a writer of it writes, and neighbours that it might
//! be changed into.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*, sample};
use serde_json::{Map, Value, json};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    Flag,
    Whole {
        min: Option<i64>,
        max: Option<i64>,
    },
    Number,
    Text {
        max: Option<usize>,
    },
    /// One of these words.
    Word(Vec<&'static str>),
    List(Box<Shape>),
    /// Any name, each with such a value.
    Map(Box<Shape>),
    /// Or null.
    Maybe(Box<Shape>),
    Record(Record),
    /// A record of one of these tags, or of another.
    Tagged(BTreeMap<&'static str, Record>),
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    fields: BTreeMap<&'static str, (Shape, Presence)>,
    /// A reader refuses what it does not know.
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Presence {
    Required,
    Optional,
}

impl Shape {
    pub(crate) fn schema(&self) -> Value {
        match self {
            Self::Flag => json!({ "type": "boolean" }),
            Self::Number => json!({ "type": "number", "format": "double" }),
            Self::Whole { min, max } => {
                let mut schema = json!({ "type": "integer", "format": "int64" });
                for (name, bound) in [("minimum", min), ("maximum", max)] {
                    if let Some(bound) = bound {
                        schema[name] = (*bound).into();
                    }
                }
                schema
            }
            Self::Text { max: None } => json!({ "type": "string" }),
            Self::Text { max: Some(max) } => json!({ "type": "string", "maxLength": max }),
            Self::Word(words) => json!({ "type": "string", "enum": words }),
            Self::List(item) => json!({ "type": "array", "items": item.schema() }),
            Self::Map(value) => json!({ "type": "object", "additionalProperties": value.schema() }),
            Self::Maybe(inner) => json!({ "anyOf": [inner.schema(), { "type": "null" }] }),
            Self::Record(record) => record.schema(None),
            Self::Tagged(records) => {
                let branches = records.iter().map(|(tag, record)| record.schema(Some(tag)));
                json!({ "oneOf": branches.collect::<Vec<_>>() })
            }
        }
    }

    /// What a writer of the shape writes.
    pub(crate) fn documents(&self) -> BoxedStrategy<Value> {
        match self {
            Self::Flag => any::<bool>().prop_map(Value::from).boxed(),
            Self::Number => (-1000..1000_i32)
                .prop_map(|n| (f64::from(n) / 8.0).into())
                .boxed(),
            Self::Whole { min, max } => {
                let (min, max) = (min.unwrap_or(i64::MIN), max.unwrap_or(i64::MAX));
                prop_oneof![Just(min), Just(max), min..=max]
                    .prop_map(Value::from)
                    .boxed()
            }
            Self::Text { max } => {
                let max = max.unwrap_or(12);
                prop_oneof![Just("x".repeat(max)), Just(String::new())]
                    .prop_map(Value::from)
                    .boxed()
            }
            Self::Word(words) => sample::select(words.clone()).prop_map(Value::from).boxed(),
            Self::List(item) => collection::vec(item.documents(), 0..3)
                .prop_map(Value::from)
                .boxed(),
            Self::Map(value) => {
                collection::btree_map(sample::select(&NAMES[..]), value.documents(), 0..3)
                    .prop_map(|map| {
                        map.into_iter()
                            .map(|(name, value)| (name.to_owned(), value))
                    })
                    .prop_map(|entries| Value::Object(entries.collect()))
                    .boxed()
            }
            Self::Maybe(inner) => prop_oneof![Just(Value::Null), inner.documents()].boxed(),
            Self::Record(record) => record.documents(None),
            Self::Tagged(records) => {
                let branches: Vec<_> = records
                    .iter()
                    .map(|(tag, record)| record.documents(Some(tag)))
                    .collect();
                proptest::strategy::Union::new(branches).boxed()
            }
        }
    }

    /// What the shape might be changed into: itself, something near, something else.
    pub(crate) fn changes(&self) -> BoxedStrategy<Self> {
        let same = Just(self.clone());
        let near = match self {
            Self::List(item) => item
                .changes()
                .prop_map(|item| Self::List(item.into()))
                .boxed(),
            Self::Map(value) => value
                .changes()
                .prop_map(|value| Self::Map(value.into()))
                .boxed(),
            Self::Maybe(inner) => {
                let within = inner.changes().prop_map(|inner| Self::Maybe(inner.into()));
                prop_oneof![3 => within, 1 => Just((**inner).clone())].boxed()
            }
            Self::Record(record) => record.changes().prop_map(Self::Record).boxed(),
            Self::Tagged(records) => {
                let records = records.clone();
                let chosen = sample::select(records.keys().copied().collect::<Vec<_>>());
                chosen
                    .prop_flat_map(move |tag| {
                        let records = records.clone();
                        records[tag].changes().prop_map(move |record| {
                            let mut records = records.clone();
                            records.insert(tag, record);
                            Self::Tagged(records)
                        })
                    })
                    .boxed()
            }
            _ => Just(Self::Maybe(Box::new(self.clone()))).boxed(),
        };
        prop_oneof![2 => same, 6 => near, 1 => shapes()].boxed()
    }
}

impl Record {
    fn schema(&self, tag: Option<&str>) -> Value {
        let mut properties = Map::new();
        let mut required = Vec::new();
        if let Some(tag) = tag {
            properties.insert("tag".to_owned(), json!({ "type": "string", "const": tag }));
            required.push("tag");
        }
        for (name, (shape, presence)) in &self.fields {
            properties.insert((*name).to_owned(), shape.schema());
            if *presence == Presence::Required {
                required.push(name);
            }
        }
        let mut schema =
            json!({ "type": "object", "properties": properties, "required": required });
        if self.closed {
            schema["additionalProperties"] = false.into();
        }
        schema
    }

    fn documents(&self, tag: Option<&'static str>) -> BoxedStrategy<Value> {
        let start = Just(
            tag.map(|tag| ("tag".to_owned(), json!(tag)))
                .into_iter()
                .collect(),
        )
        .boxed();
        self.fields
            .iter()
            .fold(
                start,
                |map: BoxedStrategy<Map<String, Value>>, (&name, (shape, presence))| {
                    let value = shape.documents();
                    let value = match presence {
                        Presence::Required => value.prop_map(Some).boxed(),
                        Presence::Optional => proptest::option::of(value).boxed(),
                    };
                    (map, value)
                        .prop_map(move |(mut map, value)| {
                            map.extend(value.map(|value| (name.to_owned(), value)));
                            map
                        })
                        .boxed()
                },
            )
            .prop_map(Value::Object)
            .boxed()
    }

    fn changes(&self) -> BoxedStrategy<Self> {
        let record = self.clone();
        let field = (sample::select(&NAMES[..]), field()).prop_map(move |(name, field)| {
            let mut record = record.clone();
            record.fields.entry(name).or_insert(field);
            record
        });
        let record = self.clone();
        let closed = Just(Self {
            closed: !self.closed,
            ..self.clone()
        });
        if self.fields.is_empty() {
            return prop_oneof![4 => field, 1 => closed].boxed();
        }
        let names: Vec<_> = self.fields.keys().copied().collect();
        let within = sample::select(names).prop_flat_map(move |name| {
            let record = record.clone();
            let (shape, presence) = record.fields[name].clone();
            let presence = prop_oneof![5 => Just(Some(presence)), 1 => Just(Some(Presence::Optional)), 1 => Just(None)];
            (shape.changes(), presence).prop_map(move |(shape, presence)| {
                let mut record = record.clone();
                match presence {
                    Some(presence) => drop(record.fields.insert(name, (shape, presence))),
                    None => drop(record.fields.remove(name)),
                }
                record
            })
        });
        prop_oneof![4 => field, 4 => within, 1 => closed].boxed()
    }
}

fn field() -> BoxedStrategy<(Shape, Presence)> {
    let presence = prop_oneof![3 => Just(Presence::Optional), 1 => Just(Presence::Required)];
    (shapes(), presence).boxed()
}

/// Any shape.
pub(crate) fn shapes() -> BoxedStrategy<Shape> {
    let bound = || sample::select(&[None, Some(0), Some(1), Some(9)][..]);
    let leaf = prop_oneof![
        Just(Shape::Flag),
        Just(Shape::Number),
        (bound(), bound()).prop_map(|(min, max)| Shape::Whole {
            min: min.map(|min: i64| min - 9),
            max
        }),
        sample::select(&[None, Some(3), Some(5)][..]).prop_map(|max| Shape::Text { max }),
        sample::subsequence(&["red", "green", "blue"][..], 1..=3).prop_map(Shape::Word),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let presence = prop_oneof![Just(Presence::Required), Just(Presence::Optional)];
        let fields =
            collection::btree_map(sample::select(&NAMES[..]), (inner.clone(), presence), 1..4);
        let record = (fields, prop::bool::weighted(0.2))
            .prop_map(|(fields, closed)| Record { fields, closed })
            .boxed();
        prop_oneof![
            inner.clone().prop_map(|item| Shape::List(item.into())),
            inner.clone().prop_map(|value| Shape::Map(value.into())),
            inner.prop_map(|inner| Shape::Maybe(inner.into())),
            record.clone().prop_map(Shape::Record),
            record.clone().prop_map(Shape::Record),
            collection::btree_map(sample::select(&["card", "cash"][..]), record, 1..=2)
                .prop_map(Shape::Tagged),
        ]
    })
    .boxed()
}
