//! The catalogue of a system's messages, and its map.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use outrigger::{asyncapi, map, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

#[derive(Serialize, Deserialize, JsonSchema)]
struct Money {
    minor: i64,
}

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = id)]
struct Created {
    id: String,
    total: Money,
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("stock-service", "reserve", reply = u32)]
struct Reserve {
    id: String,
}

async fn reserve(_: Context, _: &mut Transaction, _: Reserve) -> Result<u32, command::Error> {
    Ok(1)
}

async fn created(_: Context, _: &mut Transaction, _: Created) -> Result<(), BoxError> {
    Ok(())
}

async fn any(_: Context, _: &mut Transaction, _: CloudEvent) -> Result<(), BoxError> {
    Ok(())
}

fn system() -> System {
    let orders = Boundary::of("orders").owns(["orders"]).apis(["/orders"]);
    System::new("shop")
        .service(
            Service::new("order-service")
                .version("1.2.0")
                .boundary(orders)
                .publishes::<Created>(),
        )
        .service(
            Service::new("stock-service")
                .version("1.2.0")
                .command::<Reserve, _>(reserve),
        )
        .service(
            Service::new("mail-service")
                .version("1.1.0")
                .on::<Created, _>(created),
        )
        .service(
            Service::new("audit-service")
                .version("1.2.0")
                .on_raw("order.*", any),
        )
}

/// Every reference of the document, with what it points to.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn it_names_channels_messages_senders_and_receivers() {
    let document = asyncapi::document(&system());
    assert_eq!(document["asyncapi"], "3.0.0");
    assert_eq!(document["info"]["title"], "shop");
    assert_eq!(document["info"]["version"], "1.2.0");
    assert_eq!(
        document["channels"]["order.created"]["address"],
        "order.created"
    );
    let send = &document["operations"]["order-service.send.order.created"];
    assert_eq!(send["action"], "send");
    assert_eq!(send["tags"], json!([{ "name": "order-service" }]));
    let carried = "#/channels/order.created/messages/order.created.v1";
    assert_eq!(send["messages"], json!([{ "$ref": carried }]));
    for receiver in ["mail-service", "audit-service"] {
        let receive = &document["operations"][format!("{receiver}.receive.order.created")];
        assert_eq!(receive["action"], "receive", "{receiver}");
    }
    let message = &document["components"]["messages"]["order.created.v1"];
    assert_eq!(
        message["x-dataschema"],
        "urn:outrigger:event:order.created:1"
    );
    assert_eq!(message["payload"]["required"], json!(["id", "total"]));
    assert_eq!(
        message["payload"]["properties"]["total"]["$ref"],
        "#/components/schemas/Money"
    );
}

#[test]
fn a_command_has_its_reply_at_the_address_that_it_names() {
    let document = asyncapi::document(&system());
    let receive = &document["operations"]["stock-service.receive.saga.stock-service.reserve"];
    assert_eq!(
        receive["reply"]["address"]["location"],
        "$message.header#/sagareply"
    );
    let channel = &document["channels"]["stock-service.reserve.reply"];
    assert_eq!(channel["address"], Value::Null);
    let payload = &document["components"]["messages"]["stock-service.reserve.reply"]["payload"];
    assert_eq!(
        payload["oneOf"][0]["properties"]["done"]["format"],
        "uint32"
    );
}

#[test]
fn every_reference_has_a_target() {
    let document = asyncapi::document(&system());
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 8, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[test]
fn the_map_shows_who_says_what_to_whom() {
    let text = map::of(&system()).to_string();
    let expected = "\
order-service 1.2.0
    serves     /orders
    owns       orders
    publishes  order.created v1  -> mail-service, audit-service

stock-service 1.2.0
    does       reserve

mail-service 1.1.0
    hears      order.created v1  <- order-service

audit-service 1.2.0
    hears      order.*  <- order-service";
    assert_eq!(text, format!("shop: 4 services\n\n{expected}"));
}
