//! Every line says which trace, which service and which request it belongs to.

mod watch;

use std::{cell::Cell, io, net::SocketAddr, rc::Rc};

use env::{
    Timestamp,
    net::{DynIo, DynListener},
    world,
};
use futures::future::BoxFuture;
use outrigger_telemetry::{
    Error,
    logging::{self, Format, Options},
    propagation,
};
use serde_json::Value;
use tracing::{debug, error, field, info, info_span, warn};
use watch::Watch;

fn request() -> tracing::Span {
    info_span!(
        "request",
        service = "order-service",
        correlation_id = "c-42"
    )
}

#[test]
fn a_json_line_carries_trace_service_and_correlation() {
    let watch = Watch::new(Format::Json, "info");
    let _request = request().entered();
    let trace = propagation::trace_id();
    // Inherited by what is inside.
    let _step = info_span!("step").entered();

    info!(
        order_id = 7,
        price = 1.5,
        paid = true,
        who = "ann",
        "placed"
    );

    let line: Value = serde_json::from_str(&watch.lines()[0]).unwrap();
    assert_eq!(line["trace_id"].as_str(), trace.as_deref());
    assert_eq!(line["span_id"].as_str().unwrap().len(), 16);
    assert_eq!(line["service"], "order-service");
    assert_eq!(line["correlation_id"], "c-42");
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["span"], "step");
    assert_eq!(line["message"], "placed");
    let fields = serde_json::json!({"order_id": 7, "price": 1.5, "paid": true, "who": "ann"});
    assert_eq!(line["fields"], fields);
    assert!(
        line["timestamp"]
            .as_str()
            .unwrap()
            .parse::<Timestamp>()
            .is_ok()
    );
}

#[test]
fn a_human_line_carries_them_too() {
    let watch = Watch::new(Format::Human, "info");
    let _request = request().entered();
    let trace = propagation::trace_id().unwrap();

    warn!(product = "a b", left = 3, "stock is low");

    let line = &watch.lines()[0];
    assert!(line.contains(" WARN order-service stock is low "), "{line}");
    assert!(line.contains(r#"product="a b""#), "{line}");
    let end = format!(" correlation_id=c-42 trace_id={trace}\n");
    assert!(line.ends_with(&end), "{line}");
}

#[test]
fn a_line_outside_of_any_request_names_the_system() {
    let watch = Watch::new(Format::Json, "info");
    info!("started");
    let line: Value = serde_json::from_str(&watch.lines()[0]).unwrap();
    assert_eq!(line["service"], "shop");
    assert!(line.get("trace_id").is_none() && line.get("correlation_id").is_none());
}

#[test]
fn a_label_may_become_known_later() {
    let watch = Watch::new(Format::Json, "info");
    let span = info_span!("message", service = "s", correlation_id = field::Empty);
    span.record("correlation_id", "c-1");
    span.in_scope(|| info!("handled"));
    let line: Value = serde_json::from_str(&watch.lines()[0]).unwrap();
    assert_eq!(line["correlation_id"], "c-1");
}

#[test]
fn the_filter_chooses_lines_and_loses_no_label() {
    let watch = Watch::new(Format::Json, "error,logging=warn");
    let _request = request().entered();
    info!("not written");
    debug!("nor this");
    warn!("written");
    let lines = watch.lines();
    assert_eq!(lines.len(), 1);
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["message"], "written");
    assert_eq!(
        line["service"], "order-service",
        "its span is below the filter's level"
    );
}

#[test]
fn nobody_forges_a_line() {
    let watch = Watch::new(Format::Human, "info");
    let evil = "x\n2026-01-01T00:00:00Z  INFO payment-service paid\x1b[31m";
    info!(name = evil, "user {evil} registered");
    let line = &watch.lines()[0];
    assert_eq!(line.matches('\n').count(), 1, "{line}");
    assert!(!line.contains('\x1b'), "{line}");
}

#[test]
fn an_error_is_written_with_its_causes() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot charge")]
    struct Outer(#[source] io::Error);

    let watch = Watch::new(Format::Json, "info");
    let failure = Outer(io::Error::other("the provider is away"));
    let failure: &(dyn std::error::Error + 'static) = &failure;
    error!(error = failure, "charging failed");
    let line: Value = serde_json::from_str(&watch.lines()[0]).unwrap();
    assert_eq!(
        line["fields"]["error"],
        "cannot charge: the provider is away"
    );
}

#[test]
fn a_filter_that_does_not_parse_is_named() {
    let result = logging::dispatch(Options::new("shop").filter("loud=please=now"));
    assert!(matches!(result, Err(Error::Filter { filter, .. }) if filter == "loud=please=now"));
}

#[test]
fn a_process_installs_logging_once() {
    let options = || Options::new("shop").filter("off");
    let _guard = logging::init(options()).unwrap();
    assert!(matches!(
        logging::init(options()),
        Err(Error::AlreadyInstalled)
    ));
}

/// A world in which time stands still and chance counts.
struct Still(Cell<u8>);

impl world::World for Still {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0.set(self.0.get().wrapping_add(1));
            *byte = self.0.get();
        }
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn local_address(&self) -> std::net::IpAddr {
        std::net::Ipv4Addr::LOCALHOST.into()
    }
}

#[test]
fn g11_replay_gives_the_same_lines_and_ids_at_every_level() {
    let run = |filter: &str| {
        let _world = world::enter(Rc::new(Still(Cell::new(0))));
        let watch = Watch::new(Format::Human, filter);
        for order in 0..3 {
            let _request = request().entered();
            debug!(order, "detail");
            info!(order, "placed");
        }
        watch.lines()
    };
    let lines = run("info");
    assert_eq!(lines.len(), 3);
    assert!(
        lines[0].starts_with("1970-01-01T00:00:00.000Z"),
        "{}",
        lines[0]
    );
    assert_eq!(run("info"), lines);
    let verbose = run("debug");
    let placed: Vec<_> = verbose
        .iter()
        .filter(|line| line.contains("placed"))
        .collect();
    assert_eq!(placed, lines.iter().collect::<Vec<_>>());
}

#[test]
fn a_line_of_code_that_must_not_ask_the_world_asks_nothing_for_it() {
    let watch = Watch::new(Format::Json, "info");
    let (_, asked) = env::pure::watch(|| {
        let _request = request().entered();
        info!("again");
    });
    assert_eq!(asked, None);
    assert_eq!(watch.lines().len(), 1);
}
