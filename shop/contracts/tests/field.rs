//! The values of requests hold only what they may.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use shop_contracts::{Cursor, Id, Page, PageRequest, Text, Whole};

fn read<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}

#[test]
fn an_id_is_short_and_plain() {
    assert!(read::<Id>("\"user_1-A\"").is_ok());
    let long = format!("\"{}\"", "x".repeat(65));
    for json in ["\"\"", "\"a b\"", "\"a/b\"", "\"ä\"", "5", long.as_str()] {
        assert!(read::<Id>(json).is_err(), "{json}");
    }
}

#[test]
fn a_text_is_one_line_without_space_around_it() {
    assert_eq!(read::<Text<5>>("\" Zoë \"").unwrap().as_str(), "Zoë");
    for json in ["\"\"", "\"   \"", "\"a\\nb\"", "\"abcdef\"", "7"] {
        assert!(read::<Text<5>>(json).is_err(), "{json}");
    }
}

#[test]
fn a_whole_number_says_its_bounds() {
    assert_eq!(read::<Whole<1, 1000>>("1000").unwrap().get(), 1000);
    for json in [
        "0",
        "-1",
        "1001",
        "1.5",
        "\"1\"",
        "99999999999999999999",
        "null",
    ] {
        let error = read::<Whole<1, 1000>>(json).unwrap_err();
        assert!(
            error.contains("a whole number from 1 to 1000"),
            "{json}: {error}"
        );
    }
}

#[test]
fn a_page_has_a_bounded_number_of_rows() {
    assert_eq!(
        PageRequest::default().fetch(),
        21,
        "one more tells of a next page"
    );
    for limit in ["0", "101", "-1", "x", ""] {
        let error = read::<PageRequest>(&format!("{{\"limit\": \"{limit}\"}}")).unwrap_err();
        assert!(
            error.contains("a page has from 1 to 100 rows"),
            "{limit}: {error}"
        );
    }
}

#[test]
fn a_page_has_a_cursor_only_when_there_is_more() {
    let request: PageRequest = read("{\"limit\": \"2\"}").unwrap();
    let place = |row: &i64| Cursor {
        at_ms: *row,
        id: format!("row {row}"),
    };
    assert_eq!(request.fetch(), 3);
    assert_eq!(
        request.page(vec![3, 2], place),
        Page {
            items: vec![3, 2],
            next: None
        }
    );
    let page = request.page(vec![3, 2, 1], place);
    assert_eq!(page.items, [3, 2]);
    assert_eq!(page.next, Some(place(&2)));
}

#[test]
fn a_cursor_survives_the_client_and_nothing_else_is_one() {
    let cursor = Cursor {
        at_ms: 1_700_000_000_000,
        id: "order 7".to_owned(),
    };
    let text = serde_json::to_string(&cursor).unwrap();
    assert_eq!(read::<Cursor>(&text).unwrap(), cursor);
    for json in ["\"\"", "\"7\"", "\"not base64!\"", "\"Zm9v\""] {
        assert!(read::<Cursor>(json).is_err(), "{json}");
    }
}
