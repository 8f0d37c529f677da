//! What a closed breaker adds to a call that succeeds.

use std::{convert::Infallible, future::ready, hint::black_box};

use failsafe::futures::CircuitBreaker as _;
use recloser::{AsyncRecloser, Recloser};
use resilience::breaker::{Breaker, BreakerLayer, Permit, Settings};
use tower::{Layer, service_fn};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use super::{
    Contest,
    timing::{called, done},
};

const FAILSAFE: &str = "failsafe";
const RECLOSER: &str = "recloser";
const TOWER_RESILIENCE: &str = "tower-resilience";
const SETTINGS: &str = "the defaults of each";

type Answer = Result<(), Infallible>;

pub fn contests() -> Vec<Contest> {
    vec![bare(), around()]
}

/// Asked, and told of a success.
fn bare() -> Contest {
    let breaker = Breaker::new(Settings::default());
    let failsafe = failsafe::Config::new().build();
    let recloser = Recloser::custom().build();
    Contest {
        case: "closed breaker, bare".to_owned(),
        ours: done(move |_| {
            let _ = black_box(black_box(&breaker).enter().map(Permit::succeeded));
        }),
        peers: vec![
            (
                FAILSAFE,
                done(move |_| {
                    let breaker = black_box(&failsafe);
                    if black_box(breaker.is_call_permitted()) {
                        breaker.on_success();
                    }
                }),
            ),
            (
                RECLOSER,
                done(move |_| {
                    let _ = black_box(recloser.call(|| black_box(Answer::Ok(()))));
                }),
            ),
        ],
        settings: SETTINGS,
    }
}

/// Before a service that answers at once; those without a layer stand around its future, within a service.
fn around() -> Contest {
    let answer = || ready(black_box(Answer::Ok(())));
    let service = service_fn(move |()| answer());
    let breaker = Breaker::new(Settings::default());
    let failsafe = failsafe::Config::new().build();
    let recloser = AsyncRecloser::from(Recloser::custom().build());
    let tower_resilience = CircuitBreakerLayer::builder()
        .build()
        .expect("the defaults fit together");
    Contest {
        case: "closed breaker, around a call".to_owned(),
        ours: called(BreakerLayer::new(breaker, |ended: &Answer| ended.is_err()).layer(service)),
        peers: vec![
            (
                FAILSAFE,
                called(service_fn(move |()| failsafe.call(answer()))),
            ),
            (
                RECLOSER,
                called(service_fn(move |()| recloser.call(answer()))),
            ),
            (TOWER_RESILIENCE, called(tower_resilience.layer(service))),
        ],
        settings: SETTINGS,
    }
}
