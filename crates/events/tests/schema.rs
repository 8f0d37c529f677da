//! The schemas of events: what they look like, and which changes of them a version survives (G12).

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod shape;

use events::{
    Event, JsonSchema,
    schema::{self, incompatibilities, unread},
    schemars,
};
use outrigger_events as events;
use proptest::{collection, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shape::{Shape, shapes};

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 3, key = order_id, crate = events)]
#[serde(rename_all = "camelCase")]
struct OrderCreated {
    order_id: String,
    /// What for.
    note: Option<String>,
    amount: i64,
}

#[test]
fn a_schema_has_the_name_that_its_events_give() {
    let event = OrderCreated {
        order_id: "7".to_owned(),
        note: None,
        amount: 1,
    };
    let envelope = events::CloudEvent::of(&event).unwrap();
    let schema = schema::of::<OrderCreated>(&schema::uri::<OrderCreated>());
    assert_eq!(
        envelope.dataschema.as_deref(),
        Some("urn:outrigger:event:order.created:3")
    );
    assert_eq!(schema["$id"], envelope.dataschema.unwrap());
    assert!(
        jsonschema::validator_for(&schema)
            .unwrap()
            .is_valid(&envelope.data)
    );
}

#[test]
fn its_text_has_one_order() {
    let schema = schema::of::<OrderCreated>("urn:example");
    let text = schema::text(&schema);
    assert!(text.ends_with("}\n"), "{text}");
    assert_eq!(schema["required"], json!(["amount", "orderId"]));
    let order: Vec<_> = [
        "\"$id\"",
        "\"$schema\"",
        "\"properties\"",
        "\"required\"",
        "\"title\"",
    ]
    .map(|name| text.find(name).unwrap())
    .to_vec();
    assert!(order.is_sorted(), "{text}");
    let shuffled = json!({ "required": ["orderId", "amount"], "type": "object" });
    assert_eq!(
        schema::text(&shuffled),
        schema::text(&json!({ "type": "object", "required": ["amount", "orderId"] }))
    );
}

/// An order, to be changed.
fn order() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": { "type": "string" },
            "quantity": { "type": "integer", "format": "uint32", "minimum": 0 },
            "note": { "type": ["string", "null"] },
            "status": { "type": "string", "enum": ["PENDING", "CONFIRMED"] },
            "customer": { "$ref": "#/$defs/Customer" },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
            "way": { "oneOf": [
                { "type": "object", "properties": { "by": { "const": "card" }, "number": { "type": "string" } }, "required": ["by", "number"] },
                { "type": "object", "properties": { "by": { "const": "cash" } }, "required": ["by"] },
            ] },
        },
        "required": ["id", "quantity", "status", "customer", "lines", "way"],
        "$defs": {
            "Customer": { "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] },
            "Line": { "type": "object", "properties": { "parts": { "type": "array", "items": { "$ref": "#/$defs/Line" } }, "price": { "type": "integer", "format": "int64" } }, "required": ["parts", "price"] },
        },
    })
}

/// Sets what is at a pointer; `null` takes it away.
fn with(pointer: &str, value: Value) -> Value {
    let mut schema = order();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = schema.pointer_mut(parent).unwrap();
    match (parent, value) {
        (Value::Object(map), Value::Null) => drop(map.remove(name)),
        (Value::Object(map), value) => drop(map.insert(name.to_owned(), value)),
        (Value::Array(list), value) if name == "-" => list.push(value),
        (Value::Array(list), value) => list[name.parse::<usize>().unwrap()] = value,
        _ => panic!("nothing at {pointer}"),
    }
    schema
}

#[test]
fn g12_compatible_changes_are_accepted() {
    let optional = json!({ "type": "integer" });
    let changes = [
        with("/properties/vat", optional.clone()),
        with("/$defs/Customer/properties/email", optional),
        with("/title", json!("Order")),
        with(
            "/properties/id",
            json!({ "type": "string", "description": "Which." }),
        ),
        with(
            "/properties/note",
            json!({ "anyOf": [{ "type": "null" }, { "type": "string" }] }),
        ),
        with(
            "/properties/status",
            json!({ "oneOf": [{ "const": "CONFIRMED" }, { "type": "string", "const": "PENDING" }] }),
        ),
        with(
            "/properties/customer",
            json!({ "type": "object", "properties": { "name": { "type": "string" } }, "required": ["name"] }),
        ),
        with("/additionalProperties", json!(false)),
    ];
    for change in changes {
        assert_eq!(incompatibilities(&order(), &change), [], "{change:#}");
    }
}

#[test]
fn g12_incompatible_changes_say_what_where_and_whom_they_break() {
    const NEW: (bool, bool) = (true, false);
    const OLD: (bool, bool) = (false, true);
    const BOTH: (bool, bool) = (true, true);
    let cases = [
        (with("/properties/vat", json!(null)), "", "", None),
        (
            with("/properties/id/type", json!("integer")),
            "/properties/id",
            "the type was string, is integer",
            Some(BOTH),
        ),
        (
            with("/properties/note", json!(null)),
            "/properties/note",
            "the property was optional, is absent",
            Some(NEW),
        ),
        (
            with("/properties/note/type", json!("string")),
            "/properties/note",
            "the alternative null was allowed, is unknown",
            Some(NEW),
        ),
        (
            with("/properties/id/type", json!(["string", "null"])),
            "/properties/id",
            "the alternative null was unknown, is allowed",
            Some(OLD),
        ),
        (
            with("/required/-", json!("note")),
            "/properties/note",
            "the property was optional, is required",
            Some(NEW),
        ),
        (
            with("/required/0", json!("quantity")),
            "/properties/id",
            "the property was required, is optional",
            Some(OLD),
        ),
        (
            with("/properties/status/enum/-", json!("LOST")),
            "/properties/status",
            "the value \"LOST\" was unknown, is allowed",
            Some(OLD),
        ),
        (
            with("/properties/status/enum", json!(["PENDING"])),
            "/properties/status",
            "the value \"CONFIRMED\" was allowed, is unknown",
            Some(NEW),
        ),
        (
            with("/properties/quantity/minimum", json!(1)),
            "/properties/quantity",
            "the minimum was 0, is 1",
            Some(NEW),
        ),
        (
            with("/properties/quantity/format", json!("uint64")),
            "/properties/quantity",
            "the maximum was 4294967295, is 18446744073709551615",
            Some(OLD),
        ),
        (
            with("/properties/id/maxLength", json!(9)),
            "/properties/id",
            "the maxLength was none, is 9",
            Some(NEW),
        ),
        (
            with("/properties/id/format", json!("uuid")),
            "/properties/id",
            "the format was none, is uuid",
            Some(NEW),
        ),
        (
            with("/properties/id/pattern", json!("^o")),
            "/properties/id",
            "the pattern was none, is ^o",
            Some(NEW),
        ),
        (
            with("/$defs/Customer/properties/name/type", json!("integer")),
            "/$defs/Customer/properties/name",
            "the type was string, is integer",
            Some(BOTH),
        ),
        (
            with("/$defs/Line/properties/price/type", json!("string")),
            "/$defs/Line/properties/price",
            "the type was integer, is string",
            Some(BOTH),
        ),
        (
            with(
                "/properties/way/oneOf/0/properties/by/const",
                json!("cheque"),
            ),
            "/properties/way/oneOf/0",
            "the alternative with by \"card\" was allowed, is unknown",
            Some(NEW),
        ),
        (
            with("/properties/way/oneOf/0/required", json!(["by"])),
            "/properties/way/oneOf/0/properties/number",
            "the property was required, is optional",
            Some(OLD),
        ),
    ];
    for (changed, pointer, message, broken) in cases {
        let found = incompatibilities(&order(), &changed);
        let Some(broken) = broken else {
            assert_eq!(found, [], "nothing was changed");
            continue;
        };
        let expected = found
            .iter()
            .find(|found| found.pointer == pointer && found.to_string().contains(message));
        let expected = expected.unwrap_or_else(|| panic!("{pointer}: {message}: {found:#?}"));
        assert_eq!(
            (expected.breaks_new_readers, expected.breaks_old_readers),
            broken,
            "{expected}"
        );
    }
}

#[test]
fn g12_a_removed_required_property_breaks_both_sides_in_one_message() {
    let mut changed = with("/properties/id", Value::Null);
    changed["required"] = json!(["quantity", "status", "customer", "lines", "way"]);
    let found = incompatibilities(&order(), &changed);
    let [found] = found.as_slice() else {
        panic!("{found:#?}")
    };
    assert_eq!(
        found.to_string(),
        "/properties/id: the property was required, is absent; \
         new readers cannot take what is stored, nor old readers what is written from now on"
    );
}

#[test]
fn g12_a_reader_that_refuses_the_unknown_makes_additions_breaking() {
    let closed = with("/additionalProperties", json!(false));
    let mut added = closed.clone();
    added["properties"]["vat"] = json!({ "type": "integer" });
    let found = incompatibilities(&closed, &added);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].breaks_old_readers && !found[0].breaks_new_readers);
}

#[test]
fn a_reader_of_a_part_takes_the_whole() {
    let part = json!({ "type": "object", "properties": { "id": { "type": "string" } }, "required": ["id"] });
    assert_eq!(unread(&order(), &part), Vec::<String>::new());
    assert_eq!(unread(&part, &order()).len(), 5);
}

/// A shape, what it is changed into step by step, and documents of the first and the last.
fn history(steps: usize) -> impl Strategy<Value = (Vec<Shape>, Vec<Value>, Vec<Value>)> {
    let first = shapes().prop_map(|first| vec![first]).boxed();
    let history = (0..steps).fold(first, |history: BoxedStrategy<Vec<Shape>>, _| {
        history
            .prop_flat_map(|history| {
                let next = history.last().expect("it begins with one").changes();
                next.prop_map(move |next| [history.clone(), vec![next]].concat())
            })
            .boxed()
    });
    history.prop_flat_map(|history| {
        let documents = |shape: &Shape| collection::vec(shape.documents(), 8);
        let (first, last) = (
            documents(&history[0]),
            documents(&history[history.len() - 1]),
        );
        (Just(history), first, last)
    })
}

fn check_history(
    (shapes, first, last): (Vec<Shape>, Vec<Value>, Vec<Value>),
) -> Result<(), TestCaseError> {
    let schemas: Vec<_> = shapes.iter().map(Shape::schema).collect();
    for step in schemas.windows(2) {
        prop_assume!(incompatibilities(&step[0], &step[1]).is_empty());
    }
    let (old, new) = (&schemas[0], &schemas[schemas.len() - 1]);
    for (documents, reader) in [(&first, new), (&last, old)] {
        let reader = jsonschema::validator_for(reader).unwrap();
        for document in documents {
            let error = reader.validate(document).map_err(|error| error.to_string());
            prop_assert_eq!(error, Ok(()), "{}", document);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_global_rejects: 200_000, ..ProptestConfig::with_cases(256) })]

    /// After an accepted change the new schema takes the old documents, and the old one the new documents.
    #[test]
    fn g12_an_accepted_change_breaks_no_reader(history in history(1)) {
        check_history(history)?;
    }

    /// So it is after a chain of accepted changes.
    #[test]
    fn g12_accepted_changes_add_up(history in history(3)) {
        check_history(history)?;
    }

    /// No change is always accepted, and comparing ends.
    #[test]
    fn g12_what_stays_is_accepted(shape in shapes(), other in shapes()) {
        let mut titled = shape.schema();
        titled["title"] = "a title".into();
        prop_assert_eq!(incompatibilities(&shape.schema(), &titled), []);
        incompatibilities(&shape.schema(), &other.schema());
    }
}
