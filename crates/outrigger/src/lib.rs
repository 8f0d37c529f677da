//! Describe a system of services once, as a value, and run it in any of four ways.
//!
//! A [`System`] is what it says: its [`Service`]s, its gateway, what must always be true of it. Nothing in
//! it knows whether it runs in one process, as a process per service, in a cluster or in a simulation; that
//! is decided by the [`Platform`] it is started on.
//!
//! ```
//! use outrigger::prelude::*;
//!
//! async fn hello(State(ctx): State<Context>) -> String {
//!     format!("{} at your service", ctx.service())
//! }
//!
//! let system = System::new("greetings").service(
//!     Service::new("hello-service")
//!         .boundary(Boundary::of("greetings").apis(["/hello"]))
//!         .routes(Router::new().route("/hello", get(hello))),
//! );
//! assert!(system.violations().is_empty());
//! ```
//!
//! Start reading at [`system`], then [`service`] (the description), [`lifecycle`] (how one service lives).
//!
//! | module | subject |
//! |---|---|
//! | [`system`], [`service`], [`boundary`] | the description, and the rules it must keep |
//! | [`risk`] | what retries and time-outs together may lead to |
//! | [`messages`], [`contracts`] | what services say to each other, held against what is committed (G12) |
//! | [`asyncapi`], [`map`] | the description as a catalogue of messages, and as a map |
//! | [`handler`], [`context`] | what handlers look like, and what they get |
//! | [`settings`], `reload` | typed configuration, and what of it holds without a restart |
//! | [`platform`] | what the services of a running system share |
//! | `decisions` | what the layers of calls decide, in the figures |
//! | [`lifecycle`], `retention` | start, readiness, registration, graceful stop; what is forgotten meanwhile |
//! | [`server`], [`endpoints`], [`extract`], [`rejection`] | HTTP |
//! | `admission` | what an API takes on, and what it refuses early (G9) |
//! | [`idempotency`] | requests with an `Idempotency-Key` |
//! | [`dead_letters`] | what could not be handled, for operators |
//! | [`rewind`], [`groups`] | a service goes back on the bus; what is left there of one that is no more |
//! | [`client`] | a user of the system, at its gateway |
//! | [`operator`], `operations` | the sagas of a system, for those who look after it: in its databases, and over HTTP |
//! | [`invariant`] | what must be true of a system's data, and looking at it |

mod admission;
pub mod asyncapi;
pub mod boundary;
pub mod client;
pub mod context;
pub mod contracts;
pub mod dead_letters;
mod decisions;
pub mod endpoints;
mod error;
mod event_store;
pub mod extract;
pub mod groups;
pub mod handler;
pub mod idempotency;
pub mod invariant;
pub mod lifecycle;
pub mod map;
pub mod messages;
mod operations;
pub mod operator;
pub mod platform;
pub mod rejection;
mod reload;
mod retention;
pub mod rewind;
pub mod risk;
pub mod server;
pub mod service;
pub mod settings;
pub mod system;

pub use boundary::{Boundary, Violation};
pub use client::GatewayClient;
pub use context::Context;
pub use error::{Error, Result};
pub use idempotency::Idempotency;
pub use invariant::{Inspection, Invariant};
pub use lifecycle::{Running, RunningGateway, RunningHub, RunningService};
pub use operator::Operator;
pub use platform::Platform;
pub use rejection::Rejection;
pub use risk::Risk;
pub use service::Service;
pub use settings::Settings;
pub use system::System;

pub use axum::http;
pub use futures;
pub use {data, discovery, env, events, eventsourcing, gateway, identity, saga, telemetry};

/// What the code of a service needs, in one import.
pub mod prelude {
    pub use axum::{
        Router,
        extract::State,
        http::{HeaderMap, StatusCode},
        response::{IntoResponse, Response},
        routing::{delete, get, patch, post, put},
    };
    pub use data::{Database, Migration, Row, Transaction, Value, params};
    pub use env::{BoxError, Problem, RequestContext, Timestamp};
    pub use events::{CloudEvent, Event, JsonSchema, Publish, schemars};
    pub use eventsourcing::{Aggregate, Append, Expected};
    pub use saga::{Command, Failure, Input, Outcome, Retry, Saga, command};

    pub use crate::{
        Boundary, Context, Idempotency, Inspection, Rejection, Service, System,
        extract::{Json, Path, Query},
    };
}

/// The guide, whose code is compiled and run by the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/README.md")]
struct Guide;

/// Its chapter on the event store.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/event-store.md")]
struct EventStoreGuide;

/// Its chapter on events.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/events.md")]
struct EventsGuide;

/// Its chapter on sagas.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide/sagas.md")]
struct GuideSagas;
