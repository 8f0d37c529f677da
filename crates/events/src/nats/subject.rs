//! What a type of events is called on NATS, and to which partition a key belongs.
//!
//! An event has the subject `<stream>.<partition>.<type>`, the dots of its type being those of the subject. What a
//! token of a subject cannot hold is written `%XX`, and an empty token `%`, so that no two types share a subject.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::pattern;

/// What is encoded in a token of a subject.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-');

/// The partition of `key` among `partitions`: its FNV-1a hash of 32 bits, modulo. Simple enough to be written in any
/// language, for those who publish without this crate.
pub(super) fn partition(key: &str, partitions: u16) -> u16 {
    let hash = key.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    u16::try_from(hash % u32::from(partitions.max(1))).expect("less than a u16")
}

/// The subject of events of the type `kind` in `partition`.
pub(super) fn of(stream: &str, partition: u16, kind: &str) -> String {
    format!("{stream}.{partition}.{}", tokens(kind))
}

/// Every subject of the stream.
pub(super) fn all(stream: &str) -> String {
    format!("{stream}.*.>")
}

/// The subjects of `partition` that `patterns` ask for; none overlaps another, which the server would refuse. Without
/// patterns it is one that no event has, for none would mean all.
pub(super) fn filters(stream: &str, partition: u16, patterns: &[String]) -> Vec<String> {
    if patterns.is_empty() {
        return vec![of(stream, partition, "")];
    }
    let mut sorted: Vec<&str> = patterns.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let wanted = sorted.iter().filter(|it| {
        let covered = |other: &&&str| other != it && pattern::includes(other, it);
        !sorted.iter().any(|other| covered(&other))
    });
    wanted
        .map(|it| match pattern::prefix(it) {
            None => of(stream, partition, it),
            Some(prefix) => {
                let name = prefix.strip_suffix('.').unwrap_or(prefix);
                format!("{stream}.{partition}.{}.>", tokens(name))
            }
        })
        .collect()
}

/// The durable consumer of `group` for `partition`.
pub(super) fn consumer(group: &str, partition: u16) -> String {
    format!("{}-{partition}", token(group))
}

fn tokens(kind: &str) -> String {
    let tokens: Vec<String> = kind.split('.').map(token).collect();
    tokens.join(".")
}

fn token(text: &str) -> String {
    if text.is_empty() {
        return "%".to_owned();
    }
    utf8_percent_encode(text, ENCODED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_a_subject_whatever_it_holds() {
        assert_eq!(of("shop", 3, "order.created"), "shop.3.order.created");
        assert_eq!(of("shop", 3, "a..b *>"), "shop.3.a.%.b%20%2A%3E");
    }

    #[test]
    fn filters_do_not_overlap() {
        let patterns = [
            "order.created",
            "order.*",
            "order.a.*",
            "user.updated",
            "user.updated",
        ];
        let patterns = patterns.map(str::to_owned);
        assert_eq!(
            filters("shop", 0, &patterns),
            ["shop.0.order.>", "shop.0.user.updated"]
        );
        assert_eq!(filters("shop", 0, &[]), ["shop.0.%"]);
    }

    /// Other languages hold to these numbers (docs/guide).
    #[test]
    fn partitions_are_those_of_the_guide() {
        let partitions = ["", "a", "order-7"].map(|key| partition(key, 16));
        assert_eq!(partitions, [5, 12, 11]);
    }
}
