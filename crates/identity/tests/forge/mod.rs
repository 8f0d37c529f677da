//! What the tests need to lie: a clock that they set, and tokens signed by hand.
#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    cell::Cell,
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use env::{
    Timestamp,
    net::{DynIo, DynListener},
    world::{Entered, World, enter},
};
use futures::future::BoxFuture;
use outrigger_identity::{Issuer, Keyring};
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};

/// A world whose clock stands still until it is told to move, and whose chance is a counter.
pub(crate) struct Clock {
    seconds: Cell<i64>,
    chance: Cell<u8>,
}

impl Clock {
    pub(crate) fn enter() -> (Rc<Self>, Entered) {
        let clock = Rc::new(Self {
            seconds: Cell::new(1_800_000_000),
            chance: Cell::new(0),
        });
        (Rc::clone(&clock), enter(clock))
    }

    pub(crate) fn advance(&self, by: Duration) {
        self.seconds
            .set(self.seconds.get() + by.as_secs().cast_signed());
    }

    pub(crate) fn set_back(&self, by: Duration) {
        self.seconds
            .set(self.seconds.get() - by.as_secs().cast_signed());
    }
}

impl World for Clock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.seconds.get()).unwrap()
    }

    fn fill_random(&self, bytes: &mut [u8]) {
        for byte in bytes {
            self.chance
                .set(self.chance.get().wrapping_mul(5).wrapping_add(1));
            *byte = self.chance.get();
        }
    }

    fn listen(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynListener>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn connect(&self, _: SocketAddr) -> BoxFuture<'static, io::Result<DynIo>> {
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    fn local_address(&self) -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// The issuer of order-service, which may call user-service.
pub(crate) fn order_service(keyring: &Keyring) -> Issuer {
    let grants = BTreeMap::from([("user-service".to_owned(), vec!["call".to_owned()])]);
    Issuer::new(keyring.clone(), "order-service", grants)
}

/// The header and the claims of `token`.
pub(crate) fn open(token: &str) -> (Value, Value) {
    let parts: Vec<Value> = token
        .split('.')
        .take(2)
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap())
        .collect();
    (parts[0].clone(), parts[1].clone())
}

/// A token of `header` and `claims`, signed by `sign`.
pub(crate) fn close(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

/// The stored form of the only key of `keyring`: what a thief of the file would hold.
pub(crate) fn stolen(keyring: &Keyring) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    keyring.save(&path).unwrap();
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    file["keys"][0].clone()
}

/// Signs with the key of `keyring` itself.
pub(crate) fn sign_as(keyring: &Keyring) -> impl Fn(&[u8]) -> Vec<u8> {
    let seed = stolen(keyring)["d"].as_str().unwrap().to_owned();
    let pair = Ed25519KeyPair::from_seed_unchecked(&URL_SAFE_NO_PAD.decode(seed).unwrap()).unwrap();
    move |message| pair.sign(message).as_ref().to_vec()
}

/// `token` with its claims changed and signed again by the ring's own key.
pub(crate) fn with_claim(keyring: &Keyring, token: &str, claim: &str, value: Value) -> String {
    let (header, mut claims) = open(token);
    claims[claim] = value;
    close(&header, &claims, sign_as(keyring))
}

/// `token` without one of its claims, signed again by the ring's own key.
pub(crate) fn without_claim(keyring: &Keyring, token: &str, claim: &str) -> String {
    let (header, mut claims) = open(token);
    claims.as_object_mut().unwrap().remove(claim).unwrap();
    close(&header, &claims, sign_as(keyring))
}

/// A header that names `algorithm` and the ring's key.
pub(crate) fn header(keyring: &Keyring, algorithm: &str) -> Value {
    json!({ "typ": "JWT", "alg": algorithm, "kid": keyring.jwks().ids()[0] })
}
