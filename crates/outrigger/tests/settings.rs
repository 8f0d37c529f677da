//! Settings that are wrong are refused by name, with the nearest right one.

use std::{path::Path, time::Duration};

use outrigger::{Error, Platform, Service, Settings, System, env::config::Loader};

fn load(text: &str) -> Result<Settings, String> {
    let loader = Loader::default().text(Path::new("outrigger.toml"), text);
    loader
        .and_then(Loader::load)
        .map_err(|error| error.to_string())
}

/// What `key` of `section` takes, in seconds, and what it refuses as not being `bounds`.
fn is_bounded(
    (section, key): (&str, &str),
    of: impl Fn(&Settings) -> Duration,
    taken: [(&str, u64); 3],
    refused: [&str; 3],
    bounds: &str,
) {
    let set = |text: &str| load(&format!("[{section}]\n{key} = \"{text}\""));
    for (text, seconds) in taken {
        assert_eq!(of(&set(text).expect(text)).as_secs(), seconds);
    }
    for text in refused {
        assert_eq!(
            set(text).expect_err(text),
            format!("outrigger.toml sets `{section}.{key}` wrongly: it is from {bounds}")
        );
    }
}

#[test]
fn how_long_answers_are_kept_is_at_least_a_minute_and_at_most_a_year() {
    let keep = |settings: &Settings| settings.idempotency.keep;
    assert_eq!(keep(&Settings::default()).as_secs(), 24 * 60 * 60);
    is_bounded(
        ("idempotency", "keep"),
        keep,
        [("1m", 60), ("72h", 72 * 60 * 60), ("8760h", 8760 * 60 * 60)],
        ["0s", "59s", "8761h"],
        "1m to 8760h",
    );
}

#[test]
fn a_token_lives_for_a_second_at_least_and_five_minutes_at_most() {
    let lifetime = |settings: &Settings| settings.security.token_lifetime;
    assert_eq!(lifetime(&Settings::default()).as_secs(), 5 * 60);
    is_bounded(
        ("security", "token_lifetime"),
        lifetime,
        [("1s", 1), ("90s", 90), ("5m", 5 * 60)],
        ["0s", "500ms", "301s"],
        "1s to 5m",
    );
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

#[tokio::test]
async fn two_services_with_one_database_do_not_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let system = System::new("pair")
        .service(Service::new("one-service"))
        .service(Service::new("two-service"));
    for text in [
        "database = \"postgres://shop:secret@127.0.0.1:1/shop\"",
        "database = \"postgres://{service}:secret@127.0.0.1:1/shop\"",
        "[services.one-service]\ndatabase = \"sqlite:x\"\n[services.two-service]\ndatabase = \"sqlite:x\"",
    ] {
        let mut settings = load(text).expect("well-formed");
        settings.data = folder.path().to_owned();
        let platform = Platform::embedded(settings).await.expect("a platform");
        let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        let whole = system.start(platform.clone()).await.err();
        let part = system.start_service("one-service", &platform, listen).await;
        for error in [whole, part.err()] {
            let error = error.expect(text);
            assert!(matches!(error, Error::SharedDatabase { .. }), "{error:?}");
            let said = error.to_string();
            let begins = "one-service and two-service would share a database";
            assert!(
                said.starts_with(begins) && said.contains("`{service}`"),
                "{said}"
            );
            assert!(!said.contains("secret"), "{said}");
        }
        platform.stop().await;
    }
}

#[tokio::test]
async fn services_with_a_database_each_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = folder.path().join("{service}.sqlite");
    let text = format!("database = \"sqlite:{}\"", files.display());
    let mut settings = load(&text).expect("well-formed");
    settings.data = folder.path().to_owned();
    let platform = Platform::embedded(settings).await.expect("a platform");
    let system = System::new("pair")
        .service(Service::new("one-service"))
        .service(Service::new("two-service"));
    let running = system.start(platform).await.expect("it starts");
    assert_eq!(running.services().len(), 2);
    running.stop().await;
}

/// The blocks of settings in a chapter of the guide.
fn shown_in(chapter: &str) -> Vec<String> {
    let path = format!("{}/../../docs/guide/{chapter}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the chapter");
    let blocks = text.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|rest| Some(rest.split_once("```")?.0.to_owned()));
    blocks
        .filter(|block| !block.contains("[[route]]"))
        .collect()
}

#[test]
fn what_the_guide_shows_can_be_read_and_its_defaults_are_the_defaults() {
    for chapter in ["README.md", "servers.md", "calls.md"] {
        let shown = shown_in(chapter);
        assert!(!shown.is_empty(), "{chapter}");
        for text in shown {
            let settings = load(&text).expect(&text);
            if text.starts_with("data = ") {
                assert_eq!(settings, Settings::default(), "the defaults");
                for section in [
                    "gateway",
                    "discovery",
                    "admission",
                    "messaging",
                    "idempotency",
                    "invariants",
                    "lifecycle",
                    "logging",
                ] {
                    assert!(text.contains(&format!("[{section}]")), "{section}");
                }
            }
        }
    }
}
