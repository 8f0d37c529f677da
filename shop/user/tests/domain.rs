//! What counts as an address, and as a change.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use contracts::user::User;
use shop_user::domain::{Change, Email};

fn ada() -> User {
    User {
        id: "ada".to_owned(),
        email: "ada@example.com".to_owned(),
        name: "Ada".to_owned(),
        version: 1,
        created_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn change(json: &str) -> Change {
    serde_json::from_str(json).unwrap()
}

#[test]
fn an_address_has_a_user_and_a_host() {
    for good in ["a@b", "ada.l+shop@mail.example.com", "ä@ö.example"] {
        assert!(Email::try_from(good.to_owned()).is_ok(), "{good}");
    }
    let long = format!("{}@example.com", "a".repeat(250));
    for bad in [
        "",
        "ada",
        "@b",
        "a@",
        "a@b@c",
        "a b@c",
        "a@b\n",
        long.as_str(),
    ] {
        assert!(Email::try_from(bad.to_owned()).is_err(), "{bad}");
    }
}

#[test]
fn a_change_makes_the_next_version() {
    let changed = change(r#"{"name": "Ada Lovelace"}"#).apply(&ada()).unwrap();
    assert_eq!(
        (changed.version, changed.name.as_str()),
        (2, "Ada Lovelace")
    );
    assert_eq!(changed.email, ada().email, "what is not named stays");
}

#[test]
fn a_change_to_the_same_is_none() {
    assert_eq!(change("{}").apply(&ada()), None);
    assert_eq!(
        change(r#"{"name": "Ada", "email": "ada@example.com"}"#).apply(&ada()),
        None
    );
}
