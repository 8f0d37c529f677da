//! Paths are filled so that no argument can lead elsewhere.

use std::fmt::Display;

use outrigger_discovery::path::{Mismatch, fill};
use proptest::prelude::*;

#[test]
fn places_are_filled_in_their_order() {
    let filled = fill("/a/{x}/b/{y}", &[&1, &"two"]).expect("filled");
    assert_eq!(filled, "/a/1/b/two");
    assert_eq!(fill("/a", &[]).expect("filled"), "/a");
}

#[test]
fn as_many_arguments_as_places_or_none_at_all() {
    for arguments in [&[][..], &[&1 as &(dyn Display + Sync), &2]] {
        let mismatch = fill("/a/{x}", arguments).expect_err("a mismatch");
        let arguments = arguments.len();
        assert_eq!(
            mismatch,
            Mismatch {
                places: 1,
                arguments
            }
        );
    }
}

fn decode(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut hex = || {
            bytes
                .next()
                .and_then(|digit| char::from(digit).to_digit(16))
        };
        decoded.push(match byte {
            b'%' => (hex().expect("a digit") * 16 + hex().expect("a digit")) as u8,
            byte => byte,
        });
    }
    decoded
}

proptest! {
    #[test]
    fn an_argument_stays_one_segment_and_is_read_as_it_was(argument in ".{0,20}|[./%?#{}]{0,6}") {
        let filled = fill("/users/{id}/orders", &[&argument]).expect("filled");
        let segments: Vec<_> = filled.split('/').collect();
        prop_assert_eq!(segments.len(), 4);
        prop_assert!(segments[2] != "." && segments[2] != "..");
        prop_assert!(!segments[2].contains(['?', '#', ' ']));
        prop_assert_eq!(decode(segments[2]), argument.as_bytes());
        prop_assert!(axum::http::Uri::try_from(filled).is_ok());
    }
}
