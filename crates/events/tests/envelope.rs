//! The envelope: its JSON is a contract, and reading it survives whatever comes.

use std::collections::BTreeMap;

use events::{CloudEvent, Error, Event, JsonSchema, schemars};
use outrigger_events as events;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 2, key = order_id, crate = events)]
struct OrderCreated {
    order_id: String,
    total: u32,
}

const GOLDEN: &str = include_str!("golden/order_created.json");

fn golden() -> CloudEvent {
    CloudEvent::from_json(GOLDEN.as_bytes()).expect("the golden file is an event")
}

#[test]
fn the_json_of_an_envelope_is_the_golden_file() {
    let mut event = CloudEvent::of(&OrderCreated {
        order_id: "order-7".to_owned(),
        total: 1250,
    })
    .expect("encoded");
    event.id = "0190163d-8694-739b-aea5-966c26f8ad91".to_owned();
    event.source = "order-service".to_owned();
    event.time = Some("2026-01-02T03:04:05.678Z".parse().expect("a time"));
    event.correlationid = Some("c-1".to_owned());
    event.causationid = Some("m-1".to_owned());
    event.traceparent = Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".to_owned());
    event.extensions = BTreeMap::from([("tenant".to_owned(), json!("blue"))]);

    let pretty = serde_json::to_string_pretty(&event).expect("JSON");
    assert_eq!(pretty, GOLDEN.trim_end());
    assert_eq!(golden(), event);
}

#[test]
fn what_is_read_is_the_event_that_was_published() {
    let order = golden().decode::<OrderCreated>().expect("decoded");
    assert_eq!((order.order_id.as_str(), order.total), ("order-7", 1250));
    assert_eq!(golden().version(), Some(2));
}

#[test]
fn an_event_without_a_schema_of_ours_is_read_as_the_known_version() {
    for schema in [None, Some("https://example.com/schemas/order".to_owned())] {
        let event = CloudEvent {
            dataschema: schema,
            ..golden()
        };
        assert!(event.decode::<OrderCreated>().is_ok());
    }
}

#[test]
fn another_version_another_type_and_other_data_are_refused_by_name() {
    let newer = CloudEvent {
        dataschema: Some("urn:outrigger:event:order.created:3".to_owned()),
        ..golden()
    };
    let error = newer.decode::<OrderCreated>().expect_err("version 3");
    assert!(
        matches!(
            error,
            Error::UnknownVersion {
                version: 3,
                known: 2,
                ..
            }
        ),
        "{error}"
    );

    let other = CloudEvent {
        kind: "order.paid".to_owned(),
        ..golden()
    };
    let error = other.decode::<OrderCreated>().expect_err("another type");
    assert!(matches!(error, Error::WrongType { .. }), "{error}");

    let torn = CloudEvent {
        data: json!({"order_id": "order-7", "total": "much"}),
        ..golden()
    };
    let error = torn.decode::<OrderCreated>().expect_err("other data");
    assert!(error.is_poison());
    assert!(
        error.to_string().ends_with("cannot be read at `total`"),
        "{error}"
    );
}

#[test]
fn what_is_no_cloudevent_says_why() {
    let without = |name: &str| {
        let mut json: Value = serde_json::from_str(GOLDEN).expect("JSON");
        json.as_object_mut().expect("an object").remove(name);
        let error = CloudEvent::from_json(json.to_string().as_bytes()).expect_err("incomplete");
        assert!(matches!(error, Error::InvalidEnvelope { .. }));
        error.to_string()
    };
    for name in ["specversion", "id", "source", "type"] {
        assert!(without(name).contains(name), "{}", without(name));
    }
    let with = |name: &str, value: Value| {
        let mut json: Value = serde_json::from_str(GOLDEN).expect("JSON");
        json[name] = value;
        let error = CloudEvent::from_json(json.to_string().as_bytes()).expect_err("wrong");
        error.to_string()
    };
    assert!(with("specversion", json!("0.3")).contains("`specversion` is `0.3`"));
    assert!(with("id", json!("")).contains("`id` has 0 bytes"));
    assert!(with("source", json!("a\0b")).contains("`source` has a NUL character"));
    assert!(with("type", json!("x".repeat(513))).contains("`type` has 513 bytes"));
}

#[test]
fn what_is_too_large_or_ambiguous_is_not_written() {
    let large = CloudEvent {
        data: json!("x".repeat(events::envelope::SIZE_LIMIT)),
        ..golden()
    };
    assert!(matches!(large.to_json(), Err(Error::TooLarge { .. })));
    let ambiguous = CloudEvent {
        extensions: BTreeMap::from([("id".to_owned(), json!("another"))]),
        ..golden()
    };
    assert!(matches!(ambiguous.to_json(), Err(Error::Encode { .. })));
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn some_text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,12}")
}

fn any_event() -> impl Strategy<Value = CloudEvent> {
    const NAME: &str = "[^\\x00\n]{1,12}";
    let names = (NAME, NAME, NAME, prop::option::of(NAME));
    let time = || prop::option::of(-1_000_000_000_000_i64..4_000_000_000_000);
    let texts = (
        some_text(),
        some_text(),
        some_text(),
        some_text(),
        some_text(),
    );
    let extensions = prop::collection::btree_map("x[a-z]{0,6}", any_json(), 0..3);
    let at = |ms| env::Timestamp::from_millisecond(ms).expect("in range");
    (names, time(), time(), texts, any_json(), extensions).prop_map(
        move |((id, kind, source, partitionkey), time, expiry, texts, data, extensions)| {
            CloudEvent {
                id,
                kind,
                source,
                partitionkey,
                time: time.map(at),
                datacontenttype: texts.0,
                dataschema: texts.1,
                correlationid: texts.2,
                causationid: texts.3,
                traceparent: texts.4,
                expirytime: expiry.map(at),
                data,
                extensions,
            }
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same_event(event in any_event()) {
        let json = event.to_json().expect("written");
        prop_assert_eq!(CloudEvent::from_json(&json).expect("read"), event);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = CloudEvent::from_json(&bytes);
    }

    #[test]
    fn no_json_makes_the_reader_panic(mut json in any_json(), name in "id|type|data|time|dataschema|specversion", value in any_json()) {
        let _ = CloudEvent::from_json(json.to_string().as_bytes());
        if let Some(object) = json.as_object_mut() {
            let golden: Value = serde_json::from_str(GOLDEN).expect("JSON");
            object.extend(golden.as_object().expect("an object").clone());
            object.insert(name, value);
        }
        if let Ok(event) = CloudEvent::from_json(json.to_string().as_bytes()) {
            let _ = event.decode::<OrderCreated>();
        }
    }
}
