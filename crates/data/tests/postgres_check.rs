//! What is wrong with a PostgreSQL server is found, with what to do; and nothing where nothing is.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use env::{Finding, Severity};
use outrigger_data as data;
use servers::{Postgres, postgres::Options};

/// The findings that are about `subject`, which must be there.
fn about<'f>(findings: &'f [Finding], subject: &str) -> &'f Finding {
    let found = findings.iter().find(|it| it.subject.contains(subject));
    found.unwrap_or_else(|| panic!("nothing about {subject}: {findings:?}"))
}

#[tokio::test]
async fn a_server_and_a_role_that_are_well_set_are_fine() {
    let server = Postgres::start_with(Options::new().fsync()).await.unwrap();
    data::provision(&server.url(), "order-service", "pw")
        .await
        .unwrap();
    let url = server.url().replace("postgres@", "order-service:pw@");
    let url = url.replace("/postgres", "/order-service");

    let findings = data::check(&url).await;

    assert_eq!(findings.len(), 4, "{findings:?}");
    for finding in &findings {
        assert_eq!(finding.severity, Severity::Fine, "{finding:?}");
        assert!(!finding.found.contains("pw") && !finding.subject.contains("pw"));
    }
    assert!(findings[0].found.starts_with("answers, version "));
}

#[tokio::test]
async fn what_is_badly_set_is_named_with_what_to_do() {
    let off = Options::new().setting("synchronous_commit", "off");
    let server = Postgres::start_with(off).await.unwrap(); // nor does it sync
    let findings = data::check(&server.url()).await;

    let durability = about(&findings, "durability");
    assert_eq!(durability.severity, Severity::Error);
    for name in ["fsync", "full_page_writes", "synchronous_commit"] {
        assert!(
            durability.found.contains(&format!("{name} is off: ")),
            "{durability:?}"
        );
        assert!(
            durability.advice.contains(&format!("`{name} = on`")),
            "{durability:?}"
        );
    }
    let role = about(&findings, "role postgres");
    assert_eq!(role.severity, Severity::Warning);
    assert!(
        role.found.starts_with("is a superuser, may create roles"),
        "{role:?}"
    );
    assert!(role.advice.contains("NOSUPERUSER NOCREATEROLE"), "{role:?}");
    let door = findings.last().filter(|_| findings.len() == 5);
    assert!(door.is_some(), "{findings:?}");
    let open = findings.iter().find(|it| it.found.contains("every role"));
    assert!(open.unwrap().advice.contains("FROM PUBLIC"), "{findings:?}");

    server.sql("CREATE ROLE guest LOGIN").unwrap();
    let guest = data::check(&server.url().replace("postgres@", "guest@")).await;
    let tables = guest
        .iter()
        .find(|it| it.found.contains("cannot make tables"));
    assert_eq!(tables.unwrap().severity, Severity::Error);
}

#[tokio::test]
async fn one_setting_that_is_off_for_a_role_alone_is_found() {
    let server = Postgres::start_with(Options::new().fsync()).await.unwrap();
    server
        .sql("ALTER ROLE postgres SET synchronous_commit = off")
        .unwrap();
    let findings = data::check(&server.url()).await;
    let durability = about(&findings, "durability");
    assert_eq!(durability.severity, Severity::Error);
    assert!(
        durability.found.starts_with("synchronous_commit is off: "),
        "{durability:?}"
    );
    assert!(!durability.found.contains("fsync"), "{durability:?}");
}

#[tokio::test]
async fn a_server_that_is_away_and_a_url_that_cannot_be_read_are_findings() {
    for (url, advice) in [
        (
            "postgres://me:pw@127.0.0.1:1/shop?connect_timeout=1",
            "start it, or correct `database`",
        ),
        (
            "postgres://me:pw@127.0.0.1:1/shop?sslmode=maybe",
            "correct `database`",
        ),
    ] {
        let findings = data::check(url).await;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].severity, Severity::Error);
        assert_eq!(findings[0].advice, advice);
        assert!(!format!("{findings:?}").contains("pw"), "{findings:?}");
    }
}

#[tokio::test]
async fn the_library_of_sqlite_is_looked_at() {
    let findings = data::check("sqlite:nowhere.sqlite").await;
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].severity, &*findings[0].subject),
        (Severity::Fine, "SQLite")
    );
}
