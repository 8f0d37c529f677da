//! CloudEvents as NATS messages: the NATS protocol binding of CloudEvents, in binary mode.
//!
//! Every attribute is a header `ce-<name>`, its value percent-encoded where it is not printable ASCII; the data is the
//! payload as it is. What comes in structured mode (no `ce-specversion`, the whole event as JSON) is read as well.
//! Headers know strings only: an extension that was a number or a truth value arrives as its text.

use async_nats::{HeaderMap, HeaderName, HeaderValue};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value};

use crate::{CloudEvent, Error, Result};

/// What a header of an attribute begins with.
const PREFIX: &str = "ce-";
/// The id by which the server knows a message that comes twice.
const MESSAGE_ID: &str = "Nats-Msg-Id";
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
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && byte != b'"' && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(HEX[usize::from(digit)])));
        }
    }
    encoded
        .parse()
        .map_err(|error| invalid(format!("an attribute cannot be a header: {error}")))
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Undoes double quotes, and then one round of percent-encoding; `None` when that is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
    let text = quoted.map_or_else(|| text.to_owned(), unescape);
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = bytes.get(at + 1..at + 3).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                decoded.push(byte);
                at += 3;
            }
            None => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).ok()
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

    proptest! {
        #[test]
        fn reading_never_panics(
            headers in proptest::collection::vec(("ce-[a-z]{1,12}", "[ -~]{0,20}"), 0..8),
            specification in any::<bool>(),
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut map = HeaderMap::new();
            for (name, text) in headers {
                map.insert(name.as_str(), text.as_str());
            }
            if specification {
                map.insert("ce-specversion", "1.0");
            }
            _ = read(Some(&map), &payload);
        }
    }
}
