//! The committed contracts of messages, held against a description (G12).

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::{fs, path::Path};

use outrigger::{
    contracts::{self, Difference},
    prelude::*,
};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = id)]
struct Created {
    id: String,
    total: i64,
}

/// [`Created`] with more to say.
#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = id)]
struct Grown {
    id: String,
    total: i64,
    note: Option<String>,
}

/// [`Created`] with a total that older readers cannot take.
#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 1, key = id)]
struct Broken {
    id: String,
    total: String,
}

/// What comes of [`Broken`] when it has a version of its own.
#[derive(Serialize, Deserialize, JsonSchema, Event)]
#[event("order.created", version = 2, key = id)]
struct Next {
    id: String,
    total: String,
}

#[derive(Serialize, Deserialize, JsonSchema, Command)]
#[command("stock-service", "reserve", reply = u32)]
struct Reserve {
    id: String,
}

async fn reserve(_: Context, _: &mut Transaction, _: Reserve) -> Result<u32, command::Error> {
    Ok(1)
}

async fn heard<E: Event>(_: Context, _: &mut Transaction, _: E) -> Result<(), BoxError> {
    Ok(())
}

fn publishing<E: Event>() -> System {
    System::new("shop").service(Service::new("order-service").publishes::<E>())
}

/// What differs in `now` from the contracts of `before`.
fn differences(before: &System, now: &System, folder: &Path) -> Vec<Difference> {
    contracts::accept(before, folder).unwrap();
    contracts::compare(now, folder).unwrap()
}

#[test]
fn g12_what_is_new_is_named_with_the_command_that_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("schemas");
    let stock = Service::new("stock-service").command::<Reserve, _>(reserve);
    let system = publishing::<Created>().service(stock);
    let found = contracts::compare(&system, &folder).unwrap();
    let texts: Vec<_> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{texts:?}");
    let expected = "event order.created v1 has no committed contract; `check --accept` writes";
    assert!(texts[0].starts_with(expected), "{texts:?}");
    assert!(
        texts[1].contains("command reserve of stock-service"),
        "{texts:?}"
    );
    assert!(
        texts[2].contains("stock-service.reserve.reply.json"),
        "{texts:?}"
    );

    assert_eq!(contracts::accept(&system, &folder).unwrap().len(), 3);
    assert_eq!(contracts::compare(&system, &folder).unwrap(), []);
    assert_eq!(contracts::accept(&system, &folder).unwrap().len(), 0);
}

#[test]
fn g12_a_compatible_change_is_accepted_and_written() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (publishing::<Created>(), publishing::<Grown>());
    let found = differences(&old, &new, folder.path());
    assert!(
        matches!(found[..], [Difference::Compatible { .. }]),
        "{found:?}"
    );
    assert_eq!(differences(&new, &new, folder.path()), []);
}

#[test]
fn g12_an_incompatible_change_is_refused_until_it_has_a_version() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (publishing::<Created>(), publishing::<Broken>());
    let file = folder.path().join("order.created.v1.json");
    let found = differences(&old, &new, folder.path());
    let text = found[0].to_string();
    assert_eq!(found.len(), 1, "{text}");
    for part in [
        &format!(
            "event order.created v1 is no longer what {}",
            file.display()
        ),
        "/properties/total: the type was integer, is string",
        "new readers cannot take what is stored, nor old readers",
        "give it version 2",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }

    let was = fs::read_to_string(&file).unwrap();
    assert_eq!(contracts::accept(&new, folder.path()).unwrap().len(), 0);
    let is = fs::read_to_string(&file).unwrap();
    assert_eq!(is, was, "it was accepted all the same");

    let reader = Service::new("notification-service")
        .on::<Created, _>(heard::<Created>)
        .on::<Next, _>(heard::<Next>);
    let versioned = publishing::<Next>().service(reader);
    assert_eq!(versioned.violations(), []);
    assert_eq!(differences(&versioned, &versioned, folder.path()), []);
}

#[test]
fn g12_a_contract_that_is_gone_and_one_that_is_damaged_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let system = publishing::<Created>();
    let found = differences(&system, &System::new("shop"), folder.path());
    let text = found[0].to_string();
    let expected = "order.created.v1.json is of a message that nobody publishes";
    assert!(text.contains(expected), "{text}");

    fs::write(folder.path().join("order.created.v1.json"), "{").unwrap();
    let found = contracts::compare(&system, folder.path()).unwrap();
    assert!(
        matches!(found[..], [Difference::Unreadable { .. }]),
        "{found:?}"
    );
}

#[test]
fn g12_a_reader_with_a_type_of_its_own_must_take_what_is_published() {
    let folder = tempfile::tempdir().unwrap();
    let with = |reader: Service| publishing::<Created>().service(reader);
    let reader = || Service::new("notification-service");
    let asks_for_more = with(reader().on::<Grown, _>(heard::<Grown>));
    let found = differences(&asks_for_more, &asks_for_more, folder.path());
    assert_eq!(found, [], "what it asks for is optional");
    let wrong = with(reader().on::<Broken, _>(heard::<Broken>));
    let found = differences(&wrong, &wrong, folder.path());
    let text = found[0].to_string();
    for part in [
        "notification-service cannot take every event order.created v1",
        "/properties/total: the type is integer where it is written, string where it is read",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn g12_a_version_that_is_not_handled_and_a_second_publisher_break_the_rules() {
    let old = Service::new("notification-service").on::<Created, _>(heard::<Created>);
    let found = publishing::<Next>().service(old).violations();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].to_string().contains("not in version 2"),
        "{found:?}"
    );

    let other = Service::new("cart-service").publishes::<Created>();
    let found = publishing::<Created>().service(other).violations();
    assert_eq!(found.len(), 1, "{found:?}");
    let expected = "published by both order-service and cart-service";
    assert!(found[0].to_string().contains(expected), "{found:?}");
}

#[derive(Serialize, Deserialize)]
struct Tidy;

impl Input for Tidy {
    const SAGA: &'static str = "tidy";
}

async fn tidy(_: Saga, _: Tidy) -> Result<(), Failure> {
    Ok(())
}

#[test]
fn services_whose_sagas_would_end_under_one_name_are_refused() {
    let system = |names: [&str; 2]| {
        let [one, other] = names.map(|name| Service::new(name).saga(tidy));
        System::new("shop").service(one).service(other)
    };
    let apart = system(["order-service", "order-archive-service"]);
    assert_eq!(apart.violations(), []);
    let found = system(["order-service", "order"]).violations();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "order.saga.completed is published by both order-service and order; let one publish it, or give each a \
             type of its own"
        ]
    );
}
