//! Whether a database is what the guarantees need: for an operator, and once in the log at the start.

use env::{Finding, Severity, chain};

use crate::{postgres, sqlite_version};

/// Looks at the database at `url`, and changes nothing. What cannot be looked at is a finding too.
pub async fn check(url: &str) -> Vec<Finding> {
    if postgres::is_ours(url) {
        return postgres::check(url).await;
    }
    vec![match sqlite_version() {
        Ok(version) => Finding::fine("SQLite", format!("version {version}")),
        Err(error) => {
            let advice = "build with the bundled SQLite";
            Finding::new(Severity::Error, "SQLite", chain(&error), advice)
        }
    }]
}
