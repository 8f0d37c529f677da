//! What retries and time-outs of a whole system may lead to is found before it runs, and said with place and amount.

use std::path::Path;

use outrigger::{Boundary, Error, Service, Settings, System, env::config::Loader};

fn service(name: &str, callees: &[&str]) -> Service {
    let mut boundary = Boundary::of(name).apis([]);
    boundary.apis = vec![format!("/{name}")];
    boundary.depends_on = callees.iter().map(|callee| (*callee).to_owned()).collect();
    Service::new(name).boundary(boundary)
}

/// The gateway calls `front`, that calls `middle`, that calls `back`.
fn system(limits: &str) -> System {
    let route = "[[route]]\npath = \"/front\"\nmethods = [\"GET\"]\nservice = \"front\"";
    System::new("chain")
        .service(service("front", &["middle"]))
        .service(service("middle", &["back"]))
        .service(service("back", &[]))
        .gateway(&format!("{limits}\n{route}"))
}

fn risks(limits: &str, settings: &str) -> Vec<String> {
    let loader = Loader::default().text(Path::new("outrigger.toml"), settings);
    let settings: Settings = loader.and_then(Loader::load).expect("well-formed");
    let found = system(limits).risks(&settings).expect("it can be read");
    found.iter().map(ToString::to_string).collect()
}

#[test]
fn the_defaults_are_no_risk() {
    assert_eq!(risks("", ""), Vec::<String>::new());
}

#[test]
fn retries_that_multiply_are_found_with_their_way_and_number() {
    assert_eq!(
        risks("", "[calls.defaults]\nretry = { attempts = 3 }"),
        [
            "gateway -> front (3 requests for one) -> middle (3 requests for one) -> back (3 requests for one): one request may \
             become 27, 17 more than the 10 that are allowed; lower `retry.attempts` of one of them, or turn `retry` or `hedge` \
             off"
        ]
    );
    // One that is not made again breaks the chain.
    let text = "[calls.defaults]\nretry = { attempts = 3 }\n[calls.middle]\nretry = false";
    assert_eq!(risks("", text), Vec::<String>::new());
    // A second request beside the first counts too, and one route is enough.
    let text = "[calls.back.routes.\"GET /back\"]\nhedge = true";
    let found = risks("", text);
    assert!(
        found[0].contains("back (4 requests for one): one request may become 16"),
        "{found:?}"
    );
}

#[test]
fn a_caller_that_waits_for_less_than_its_callee_does_is_found_with_the_difference() {
    assert_eq!(
        risks("", "[calls.middle]\ndeadline = \"1s\""),
        [
            "middle has 1s to answer (`calls.middle.deadline`) and may wait 5s for back (`calls.back.deadline`): 4s more; raise \
             the first or lower the second"
        ]
    );
    assert_eq!(
        risks(
            "limits.timeout = \"3s\"",
            "[calls.middle]\ndeadline = \"3500ms\"\n[calls.back]\ndeadline = \"2s\""
        ),
        [
            "front has 3s to answer (`gateway.toml: limits.timeout`) and may wait 3.5s for middle (`calls.middle.deadline`): \
             500ms more; raise the first or lower the second"
        ]
    );
    let text = "[calls.back]\ndeadline = \"1s\"\n[calls.middle]\ndeadline = \"2s\"\n[calls.back.routes.\"GET /back\"]\ndeadline = \"4s\"";
    let found = risks("", text);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("(`calls.back.routes.\"GET /back\".deadline`): 2s more"),
        "{found:?}"
    );
}

#[test]
fn calls_of_a_service_that_is_not_there_cannot_be_judged() {
    let loader = Loader::default().text(Path::new("outrigger.toml"), "[calls.bakc]\nretry = false");
    let settings: Settings = loader.and_then(Loader::load).expect("well-formed");
    let error = system("").risks(&settings).expect_err("unknown");
    assert!(matches!(error, Error::UnknownCallee { .. }), "{error}");
}
