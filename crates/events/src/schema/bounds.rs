//! Ranges: of numbers, of the lengths of texts, of the counts of items and properties.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::alternatives::Plain;

/// One end of a range.
#[derive(Debug, Clone)]
struct Bound {
    number: Number,
    /// The number itself is outside.
    exclusive: bool,
}

/// Which end, and by which sign more is stricter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Lower,
    Upper,
}

/// What is measured, and the keywords of its two ends.
const MEASURES: [(&str, &str); 3] = [
    ("minLength", "maxLength"),
    ("minItems", "maxItems"),
    ("minProperties", "maxProperties"),
];

/// The keywords that this module judges.
pub(super) const KEYWORDS: [&str; 10] = [
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
];

/// An end of a range where a reader is narrower than a writer.
pub(super) struct Narrower {
    /// `the minimum`, `the maxLength`.
    pub(super) aspect: String,
    pub(super) writer: String,
    pub(super) reader: String,
}

/// Each end of a range where `reader` is narrower than `writer`.
pub(super) fn narrower(writer: &Plain<'_>, reader: &Plain<'_>) -> Vec<Narrower> {
    let numbers = [(End::Lower, "minimum"), (End::Upper, "maximum")];
    let numbers = numbers.map(|(end, name)| (name, end, number(writer, end), number(reader, end)));
    let measures = MEASURES.into_iter().flat_map(|(lower, upper)| {
        let ends = [(End::Lower, lower), (End::Upper, upper)];
        ends.map(|(end, name)| {
            let written = measure(writer, name).or_else(|| implied(writer, name));
            (name, end, written, measure(reader, name))
        })
    });
    numbers
        .into_iter()
        .chain(measures)
        .filter_map(|(name, end, writer, reader)| {
            let reader = reader.filter(|reader| !within(end, writer.as_ref(), reader))?;
            let text = |bound: Bound| bound.number.to_string();
            Some(Narrower {
                aspect: format!("the {name}"),
                writer: writer.map_or("none".to_owned(), text),
                reader: text(reader),
            })
        })
        .collect()
}

fn within(end: End, writer: Option<&Bound>, reader: &Bound) -> bool {
    writer.is_some_and(
        |writer| match (compare(&writer.number, &reader.number), end) {
            (Ordering::Equal, _) => writer.exclusive || !reader.exclusive,
            (Ordering::Greater, End::Lower) | (Ordering::Less, End::Upper) => true,
            _ => false,
        },
    )
}

/// The end of the range of a number: the strictest of what the keywords, the format and a constant say.
fn number(plain: &Plain<'_>, end: End) -> Option<Bound> {
    let (inclusive, exclusive) = match end {
        End::Lower => ("minimum", "exclusiveMinimum"),
        End::Upper => ("maximum", "exclusiveMaximum"),
    };
    let of = |name: &str, exclusive| match plain.keyword(name) {
        Some(Value::Number(number)) => Some(Bound {
            number: number.clone(),
            exclusive,
        }),
        _ => None,
    };
    let constant = match plain.constant {
        Some(Value::Number(number)) => Some(Bound {
            number: number.clone(),
            exclusive: false,
        }),
        _ => None,
    };
    let format = plain
        .keyword("format")
        .and_then(Value::as_str)
        .and_then(integers)
        .map(|(lower, upper)| Bound {
            number: match end {
                End::Lower => lower,
                End::Upper => upper,
            },
            exclusive: false,
        });
    [of(inclusive, false), of(exclusive, true), constant, format]
        .into_iter()
        .flatten()
        .reduce(|one, two| match (compare(&one.number, &two.number), end) {
            (Ordering::Less, End::Lower) | (Ordering::Greater, End::Upper) => two,
            (Ordering::Equal, _) if two.exclusive => two,
            _ => one,
        })
}

fn measure(plain: &Plain<'_>, name: &str) -> Option<Bound> {
    match plain.keyword(name) {
        Some(Value::Number(number)) => Some(Bound {
            number: number.clone(),
            exclusive: false,
        }),
        _ => None,
    }
}

/// What a writer keeps to without saying it: a constant has its length, a record the properties that it requires.
fn implied(plain: &Plain<'_>, name: &str) -> Option<Bound> {
    let count = match plain.constant {
        Some(Value::String(text)) if name.ends_with("Length") => text.chars().count(),
        _ if name == "minProperties" => plain.required.len(),
        _ => return None,
    };
    Some(Bound {
        number: count.into(),
        exclusive: false,
    })
}

/// The range of a format of whole numbers.
pub(super) fn integers(format: &str) -> Option<(Number, Number)> {
    Some(match format {
        "int8" => (i8::MIN.into(), i8::MAX.into()),
        "int16" => (i16::MIN.into(), i16::MAX.into()),
        "int32" => (i32::MIN.into(), i32::MAX.into()),
        "int64" | "int" => (i64::MIN.into(), i64::MAX.into()),
        "uint8" => (0.into(), u8::MAX.into()),
        "uint16" => (0.into(), u16::MAX.into()),
        "uint32" => (0.into(), u32::MAX.into()),
        "uint64" | "uint" => (0.into(), u64::MAX.into()),
        _ => return None,
    })
}

/// Whole numbers exactly, others as doubles.
fn compare(one: &Number, two: &Number) -> Ordering {
    match (one.as_i128(), two.as_i128()) {
        (Some(one), Some(two)) => one.cmp(&two),
        _ => {
            let double = |number: &Number| number.as_f64().unwrap_or(f64::NAN);
            double(one).total_cmp(&double(two))
        }
    }
}
