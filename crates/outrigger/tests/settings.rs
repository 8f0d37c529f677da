//! Settings that are wrong are refused by name, with the nearest right one.

use std::path::Path;

use outrigger::{Settings, env::config::Loader};

fn load(text: &str) -> Result<Settings, String> {
    let loader = Loader::default().text(Path::new("outrigger.toml"), text);
    loader
        .and_then(Loader::load)
        .map_err(|error| error.to_string())
}

#[test]
fn how_long_answers_are_kept_is_at_least_a_minute_and_at_most_a_year() {
    let day = Settings::default().idempotency.keep;
    assert_eq!(day.as_secs(), 24 * 60 * 60);
    for (text, seconds) in [("1m", 60), ("72h", 72 * 60 * 60), ("8760h", 8760 * 60 * 60)] {
        let settings = load(&format!("[idempotency]\nkeep = \"{text}\"")).expect(text);
        assert_eq!(settings.idempotency.keep.as_secs(), seconds);
    }
    for text in ["0s", "59s", "8761h"] {
        let error = load(&format!("[idempotency]\nkeep = \"{text}\"")).expect_err(text);
        assert_eq!(
            error,
            "outrigger.toml sets `idempotency.keep` wrongly: it is from 1m to 8760h"
        );
    }
}

#[test]
fn a_key_that_does_not_exist_is_named_with_the_nearest_that_does() {
    for (text, wrong, right) in [
        (
            "[idempotency]\nkept = \"1h\"",
            "idempotency.kept",
            "idempotency.keep",
        ),
        (
            "[idempotence]\nkeep = \"1h\"",
            "idempotence.keep",
            "idempotency.keep",
        ),
        (
            "[messaging]\nbuss = \"nats://n\"",
            "messaging.buss",
            "messaging.bus",
        ),
        ("databse = \"postgres://db/x\"", "databse", "database"),
    ] {
        let error = load(text).expect_err(wrong);
        let expected =
            format!("outrigger.toml sets `{wrong}`, which does not exist; did you mean `{right}`?");
        assert_eq!(error, expected);
    }
}
