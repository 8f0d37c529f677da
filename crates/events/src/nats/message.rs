//! CloudEvents as NATS messages: the NATS protocol binding of CloudEvents, in binary mode.
//!
//! Every attribute is a header `ce-<name>`, its value percent-encoded where it is not printable ASCII; the data is the
//! payload as it is. What comes in structured mode (no `ce-specversion`, the whole event as JSON) is read as well.
//! Headers know strings only: an extension that was a number or a truth value arrives as its text.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{CloudEvent, Error, Result};

/// What a header of an attribute begins with.
const PREFIX: &str = "ce-";
/// The id by which the server knows a message that comes twice.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// What is encoded in a header, beside all that is not ASCII.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');
/// Where structured JSON has data that is no text.
const BINARY: &str = "data_base64";

/// The headers and the payload of `event`.
pub(super) fn write(event: &CloudEvent) -> Result<(HeaderMap, Bytes)> {
    event.check()?;
    let encoding = |source| Error::Encode {
        kind: event.kind.clone(),
        id: event.id.clone(),
        source,
    };
    let Value::Object(mut attributes) = serde_json::to_value(event).map_err(encoding)? else {
        return Err(invalid("an event is not a JSON object"));
    };
    let data = attributes.remove("data").unwrap_or(Value::Null);
    let binary = attributes.remove(BINARY);
    let payload = match (binary, data) {
        (Some(Value::String(text)), _) => STANDARD
            .decode(text)
            .map_err(|error| invalid(format!("`{BINARY}` is not base64: {error}")))?,
        (_, Value::Null) => Vec::new(),
        (_, Value::String(text)) if !is_json(event.datacontenttype.as_deref()) => text.into_bytes(),
        (_, data) => serde_json::to_vec(&data).map_err(encoding)?,
    };

    let mut headers = HeaderMap::new();
    headers.insert(MESSAGE_ID, value(&event.id)?);
    for (name, attribute) in attributes {
        let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if name.is_empty() || !name.chars().all(legal) {
            return Err(invalid(format!(
                "`{name}` cannot be the name of an attribute; use lower-case letters and digits"
            )));
        }
        let text = match attribute {
            Value::Null => continue,
            Value::String(text) => text,
            other => other.to_string(),
        };
        let name: HeaderName = format!("{PREFIX}{name}")
            .parse()
            .map_err(|error| invalid(format!("`{name}` cannot be a header: {error}")))?;
        headers.insert(name, value(&text)?);
    }
    Ok((headers, payload.into()))
}

/// Reads an event, in either mode.
pub(super) fn read(headers: Option<&HeaderMap>, payload: &[u8]) -> Result<CloudEvent> {
    let mut attributes = Map::new();
    for (name, values) in headers.into_iter().flat_map(HeaderMap::iter) {
        let name = name.to_string().to_ascii_lowercase();
        if let (Some(name), Some(value)) = (name.strip_prefix(PREFIX), values.last()) {
            let text = decode(value.as_str())
                .ok_or_else(|| invalid(format!("the header `{PREFIX}{name}` is not UTF-8")))?;
            attributes.insert(name.to_owned(), Value::String(text));
        }
    }
    if !attributes.contains_key("specversion") {
        return CloudEvent::from_json(payload);
    }
    for reserved in ["data", BINARY] {
        attributes.remove(reserved);
    }
    if !payload.is_empty() {
        let media = attributes.get("datacontenttype").and_then(Value::as_str);
        let (name, data) = read_data(media, payload)?;
        attributes.insert(name.to_owned(), data);
    }
    serde_json::from_value(Value::Object(attributes)).map_err(|error| invalid(error.to_string()))
}

fn read_data(media: Option<&str>, payload: &[u8]) -> Result<(&'static str, Value)> {
    if is_json(media) {
        match serde_json::from_slice(payload) {
            Ok(data) => return Ok(("data", data)),
            Err(error) if media.is_some() => {
                return Err(invalid(format!("the data is not JSON: {error}")));
            }
            Err(_) => {}
        }
    }
    Ok(match std::str::from_utf8(payload) {
        Ok(text) => ("data", Value::String(text.to_owned())),
        Err(_) => (BINARY, Value::String(STANDARD.encode(payload))),
    })
}

/// How many bytes of the server's `max_payload` the message takes: its headers count.
pub(super) fn size(headers: &HeaderMap, payload: &[u8]) -> usize {
    let line = |(name, value): (usize, usize)| name + value + ": \r\n".len();
    let lines: usize = headers
        .iter()
        .flat_map(|(name, values)| {
            let name = AsRef::<[u8]>::as_ref(name).len();
            values.iter().map(move |value| (name, value.as_str().len()))
        })
        .map(line)
        .sum();
    "NATS/1.0\r\n\r\n".len() + lines + payload.len()
}

/// Whether data of this media type is JSON; without one, it is by the specification.
fn is_json(media: Option<&str>) -> bool {
    let Some(media) = media else { return true };
    let media = media.split(';').next().unwrap_or(media).trim();
    let media = media.to_ascii_lowercase();
    media.ends_with("/json") || media.ends_with("+json")
}

fn value(text: &str) -> Result<HeaderValue> {
    utf8_percent_encode(text, ENCODED)
        .to_string()
        .parse()
        .map_err(|error| invalid(format!("an attribute cannot be a header: {error}")))
}

/// Undoes double quotes, and then one round of percent-encoding; `None` when that is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let text = quoted.map_or_else(|| text.to_owned(), unescape);
    let decoded = percent_decode_str(&text).decode_utf8().ok()?;
    Some(decoded.into_owned())
}

fn unescape(quoted: &str) -> String {
    let mut text = String::with_capacity(quoted.len());
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        });
    }
    text
}

fn invalid(reason: impl Into<String>) -> Error {
    Error::InvalidEnvelope {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn round(event: &CloudEvent) -> CloudEvent {
        let (headers, payload) = write(event).expect("written");
        read(Some(&headers), &payload).expect("read")
    }

    fn event(data: Value) -> CloudEvent {
        let mut event = CloudEvent::new("order.created", "7", data);
        event.source = "order-service".to_owned();
        event
    }

    #[test]
    fn what_is_written_is_read() {
        let mut rich = event(json!({ "total": 1250 }));
        rich.partitionkey = Some("Euro € 😀 \"%41\"\r\nNats-Msg-Id: x".to_owned());
        rich.extensions.insert("tenant".to_owned(), json!("blue"));
        assert_eq!(round(&rich), rich);
        for data in [Value::Null, json!(""), json!("text"), json!([1, null])] {
            let event = event(data);
            assert_eq!(round(&event), event);
        }
        let mut text = event(json!("{not json"));
        text.datacontenttype = Some("text/plain".to_owned());
        assert_eq!(round(&text).data, text.data);
    }

    #[test]
    fn bytes_that_are_no_text_survive() {
        let mut image = event(Value::Null);
        image.datacontenttype = Some("image/png".to_owned());
        let bytes = [0x89, b'P', 0xff, 0];
        let text = STANDARD.encode(bytes);
        image.extensions.insert(BINARY.to_owned(), json!(text));
        let (headers, payload) = write(&image).expect("written");
        assert_eq!(payload.as_ref(), bytes);
        assert_eq!(read(Some(&headers), &payload).expect("read"), image);
    }

    #[test]
    fn the_example_of_the_specification_is_encoded_as_there() {
        let encoded = value("Euro € 😀").expect("a value");
        assert_eq!(encoded.as_str(), "Euro%20%E2%82%AC%20%F0%9F%98%80");
        assert_eq!(decode("\"Euro \\\" x\"").as_deref(), Some("Euro \" x"));
        assert_eq!(decode("%C0%A0"), None);
    }

    #[test]
    fn structured_mode_is_read() {
        let event = event(json!({ "total": 1 }));
        let json = event.to_json().expect("JSON");
        assert_eq!(read(None, &json).expect("read"), event);
    }

    /// Whatever may be the text of an attribute that is written.
    fn text() -> impl Strategy<Value = String> {
        "\\PC{1,40}|[ -~]{1,40}|(%[0-9a-fA-F]{0,2}|[\"\\\\ \r\n\u{0}ä€😀]){1,12}"
    }

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,20}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4);
            let map = proptest::collection::btree_map("[a-z]{0,4}", inner, 0..4);
            prop_oneof![
                list.prop_map(Value::from),
                map.prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read(
            key in text(), subject in text(), id in "[!-~]{1,40}", data in json_value(),
        ) {
            let mut event = event(data);
            event.id = id;
            event.partitionkey = Some(key.replace('\0', ""));
            event.extensions.insert("subject".to_owned(), subject.into());
            prop_assume!(event.check().is_ok());
            prop_assert_eq!(round(&event), event);
        }

        #[test]
        fn reading_never_panics(
            headers in proptest::collection::vec(("(ce-|CE-)?[a-zA-Z]{1,12}", text()), 0..8),
            known in proptest::collection::vec((
                proptest::sample::select(vec![
                    "ce-id", "ce-type", "ce-source", "ce-time", "ce-datacontenttype", "ce-partitionkey", "ce-data",
                ]),
                "[ -~]{0,600}",
            ), 0..8),
            specification in any::<bool>(),
            payload in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..64),
                json_value().prop_map(|json| json.to_string().into_bytes()),
            ],
        ) {
            let mut map = HeaderMap::new();
            let known = known.into_iter().map(|(name, text)| (name.to_owned(), text));
            for (name, text) in headers.into_iter().chain(known) {
                if let (Ok(name), Ok(text)) = (name.parse::<HeaderName>(), text.parse::<HeaderValue>()) {
                    map.insert(name, text);
                }
            }
            if specification {
                map.insert("ce-specversion", "1.0");
            }
            if let Ok(event) = read(Some(&map), &payload) {
                // What is handed on can be kept, and read again.
                let json = event.to_stored().expect("kept");
                prop_assert_eq!(CloudEvent::from_json(json.as_bytes()).expect("read"), event);
            }
        }
    }
}
