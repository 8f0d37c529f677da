//! What passes the edge and what does not.
//!
//! Guaranteed (G10): no header that services believe of one another reaches them from a client. A request
//! goes on with the gateway's own correlation id (the client's, if it is well-formed), its own account of who
//! asked, and without what was meant for the connection alone (RFC 9110, section 7.6.1). Answers lose the
//! same on their way back.

use std::net::SocketAddr;

use env::request::{CORRELATION_ID, CORRELATION_ID_LIMIT, REQUEST_DEADLINE};
use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{self, Entry},
    uri::Authority,
};
use telemetry::propagation::{TRACEPARENT, TRACESTATE};

/// What all internal headers begin with that are not standard ones.
pub const INTERNAL_PREFIX: &str = "x-outrigger-";
/// The longest `tracestate` that is handed on, in bytes (W3C trace context, section 3.3.1.5).
const TRACESTATE_LIMIT: usize = 512;

const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    PROXY_CONNECTION,
    KEEP_ALIVE,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
];

/// What a client may say and services must not believe: deadlines are the gateway's to set, baggage reaches
/// every log, and who asked is what the gateway saw.
const INTERNAL: [HeaderName; 3] = [
    REQUEST_DEADLINE,
    HeaderName::from_static("baggage"),
    HeaderName::from_static("x-real-ip"),
];

/// Makes the headers of a client's request fit for the inside.
///
/// `authorization` stays until [`outbound`]: authentication and the cache look at it.
pub fn admit(headers: &mut HeaderMap, uri: &Uri, client: Option<SocketAddr>) {
    // First, so that a client cannot have removed what is set below by naming it in `Connection`.
    strip_hop_by_hop(headers);
    remove_if(headers, |name| {
        INTERNAL.contains(name) || is_internal(name) || is_account(name)
    });
    keep_correlation(headers);
    keep_trace(headers);
    set_account(headers, uri, client);
}

/// The last step before the headers leave for a service, whose `host` and `authorization` are its client's
/// to set.
pub fn outbound(headers: &mut HeaderMap) {
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::HOST);
    // Trailers of requests go no further (crate::body), so none is announced.
    headers.remove(header::TRAILER);
    // The server answered it already, when the body was first asked for.
    headers.remove(header::EXPECT);
    headers.append(header::VIA, HeaderValue::from_static("1.1 outrigger"));
    join_cookies(headers);
}

/// HTTP/2 may send each cookie on a line of its own, HTTP/1.1 may not (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_some() {
        let lines = headers
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes);
        let joined = lines.collect::<Vec<_>>().join(&b"; "[..]);
        if let Ok(joined) = HeaderValue::from_bytes(&joined) {
            headers.insert(header::COOKIE, joined);
        }
    }
}

/// Makes the headers of a service's answer fit for the outside.
pub fn inbound(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
    // The answer's correlation id is the request's; the gateway's own telemetry layer says it.
    remove_if(headers, |name| {
        *name == REQUEST_DEADLINE || *name == CORRELATION_ID || is_internal(name)
    });
}

/// Removes what is meant for one connection alone, also what `Connection` names.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|list| list.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The host that the client asked for: of the URI, or of its one well-formed `host` header.
pub fn host(headers: &HeaderMap, uri: &Uri) -> Option<Authority> {
    if let Some(authority) = uri.authority() {
        return Some(authority.clone()).filter(|authority| !authority.as_str().contains('@'));
    }
    let host: Authority = only(headers, &header::HOST)?.parse().ok()?;
    (!host.as_str().contains('@')).then_some(host)
}

fn is_internal(name: &HeaderName) -> bool {
    name.as_str().starts_with(INTERNAL_PREFIX)
}

fn is_account(name: &HeaderName) -> bool {
    *name == header::FORWARDED || name.as_str().starts_with("x-forwarded-")
}

fn remove_if(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers
        .keys()
        .filter(|name| unwanted(name))
        .cloned()
        .collect();
    for name in names {
        headers.remove(name);
    }
}

/// The value of a header that is there once and is text.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn keep_correlation(headers: &mut HeaderMap) {
    let well_formed = only(headers, &CORRELATION_ID).is_some_and(|id| {
        (1..=CORRELATION_ID_LIMIT).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    });
    if !well_formed && let Ok(id) = HeaderValue::try_from(env::id().to_string()) {
        headers.insert(CORRELATION_ID, id);
    }
}

/// A well-formed trace is continued; of any other nothing stays.
fn keep_trace(headers: &mut HeaderMap) {
    if !only(headers, &TRACEPARENT).is_some_and(is_traceparent) {
        headers.remove(TRACEPARENT);
        headers.remove(TRACESTATE);
    }
    let state: usize = headers
        .get_all(TRACESTATE)
        .iter()
        .map(HeaderValue::len)
        .sum();
    if state > TRACESTATE_LIMIT {
        headers.remove(TRACESTATE);
    }
}

/// `version-traceid-spanid-flags` as in W3C trace context, section 3.2.
fn is_traceparent(value: &str) -> bool {
    let hex = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let not_all = |text: &str, byte: u8| text.bytes().any(|b| b != byte);
    let mut parts = value.split('-');
    let mut part = || parts.next().unwrap_or_default();
    let (version, trace, span, flags) = (part(), part(), part(), part());
    hex(version, 2)
        && not_all(version, b'f')
        && hex(trace, 32)
        && not_all(trace, b'0')
        && hex(span, 16)
        && not_all(span, b'0')
        && hex(flags, 2)
        // A later version may say more.
        && (version != "00" || parts.next().is_none())
}

/// Says who asked for what, as the gateway saw it (RFC 7239, and the older headers that are still read).
fn set_account(headers: &mut HeaderMap, uri: &Uri, client: Option<SocketAddr>) {
    let host = host(headers, uri);
    let mut forwarded = Vec::with_capacity(3);
    if let Some(client) = client {
        let ip = client.ip().to_canonical();
        forwarded.push(if ip.is_ipv6() {
            format!("for=\"[{ip}]\"")
        } else {
            format!("for={ip}")
        });
        insert(headers, X_FORWARDED_FOR, &ip.to_string());
    }
    if let Some(host) = host {
        forwarded.push(format!("host=\"{host}\""));
        insert(headers, X_FORWARDED_HOST, host.as_str());
    }
    forwarded.push("proto=http".to_owned());
    insert(headers, X_FORWARDED_PROTO, "http");
    insert(headers, header::FORWARDED, &forwarded.join(";"));
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let (Ok(value), Entry::Vacant(vacant)) = (HeaderValue::from_str(value), headers.entry(name))
    {
        vacant.insert(value);
    }
}
