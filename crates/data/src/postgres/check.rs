//! Whether a PostgreSQL server, a database and a role are set as the guarantees need it.
//!
//! What a server may be told not to do is what makes a commit durable; what a role should not be able to do is to reach
//! beyond its own database.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use env::{Finding, Severity, Timestamp, chain};

use super::{Connection, Place, Target, check_version};
use crate::{Error, Result, Row, params};

/// By how much clocks may differ without anybody noticing: leases are at least ten times as long.
const SKEW_MAX: Duration = Duration::from_secs(1);

/// Settings whose `off` breaks a promise, and what comes of it.
const SETTINGS: [(&str, &str); 3] = [
    (
        "fsync",
        "nothing is known to be on its disk: a crash of its machine can lose what was committed and damage the rest",
    ),
    (
        "full_page_writes",
        "a crash of its machine can leave pages half written, which nothing repairs",
    ),
    (
        "synchronous_commit",
        "commits are acknowledged before they are on its disk: a crash of the server loses the last ones",
    ),
];

/// All that is looked at, in one question.
const LOOK: &str = "
    SELECT current_setting('server_version') AS version,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           rolname::TEXT AS role, rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls,
           coalesce(has_schema_privilege(current_schema(), 'CREATE'), FALSE) AS may_create,
           has_database_privilege('public', current_database(), 'CONNECT') AS open_to_all
    FROM pg_roles WHERE rolname = current_user";

/// Looks at the server, the database and the role that `url` names.
pub(crate) async fn check(url: &str) -> Vec<Finding> {
    let target = match Target::parse(url) {
        Ok(target) => Arc::new(target),
        Err(error) => return vec![failed("PostgreSQL".to_owned(), &error)],
    };
    let looked = async {
        let mut connection = Connection::open(&target).await?;
        check_version(&mut connection).await?;
        look(&mut connection, &target).await
    };
    looked
        .await
        .unwrap_or_else(|error| vec![failed(target.place(), &error)])
}

/// Says once a process in the log what is worse than it should be.
pub(super) async fn warn(connection: &mut Connection, target: &Target) -> Result<()> {
    static SAID: Mutex<BTreeSet<(String, String)>> = Mutex::new(BTreeSet::new());
    for finding in look(connection, target).await? {
        let Finding {
            severity,
            subject,
            found,
            advice,
        } = finding;
        if severity < Severity::Warning {
            continue;
        }
        let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
        if said.insert((subject.clone(), found.clone())) {
            tracing::warn!(database = subject, advice, "{found}");
        }
    }
    Ok(())
}

async fn look(connection: &mut Connection, target: &Target) -> Result<Vec<Finding>> {
    let server = target.servers();
    let mut findings = Vec::new();
    if let Some(row) = connection
        .query(LOOK, params![], Place::Within)
        .await?
        .first()
    {
        let version: String = row.get("version")?;
        findings.push(Finding::fine(
            &server,
            format!("answers, version {version}"),
        ));
        findings.push(durability(&server, row)?);
        findings.push(rights(&target.place(), row)?);
        findings.extend(doors(target, row)?);
    }
    let asked = env::now();
    let sql = "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::BIGINT";
    let rows = connection.query(sql, params![], Place::Within).await?;
    if let Some(row) = rows.first() {
        findings.push(clocks(&server, asked, row.get(0)?, env::now()));
    }
    Ok(findings)
}

/// Whether what is committed is on the disk.
fn durability(server: &str, row: &Row) -> Result<Finding> {
    let mut off = Vec::new();
    for (name, consequence) in SETTINGS {
        if row.get::<String>(name)? == "off" {
            off.push((name, consequence));
        }
    }
    let subject = format!("{server}, durability");
    if off.is_empty() {
        let found = "commits are on its disk before they are acknowledged";
        return Ok(Finding::fine(subject, found));
    }
    let list = |part: fn(&(&str, &str)) -> String, between| {
        off.iter().map(part).collect::<Vec<_>>().join(between)
    };
    Ok(Finding::new(
        Severity::Error,
        subject,
        list(
            |(name, consequence)| format!("{name} is off: {consequence}"),
            "; ",
        ),
        format!(
            "set {} in postgresql.conf, and look for ALTER ROLE and ALTER DATABASE that say otherwise",
            list(|(name, _)| format!("`{name} = on`"), " and ")
        ),
    ))
}

/// Whether the role can do more than its service needs.
fn rights(database: &str, row: &Row) -> Result<Finding> {
    let role: String = row.get("role")?;
    let subject = format!("{database}, role {role}");
    let mut more = Vec::new();
    for (column, right, revoke) in [
        ("rolsuper", "is a superuser", "NOSUPERUSER"),
        ("rolcreaterole", "may create roles", "NOCREATEROLE"),
        ("rolcreatedb", "may create databases", "NOCREATEDB"),
        ("rolreplication", "may copy the server", "NOREPLICATION"),
        ("rolbypassrls", "passes row security", "NOBYPASSRLS"),
    ] {
        if row.get::<bool>(column)? {
            more.push((right, revoke));
        }
    }
    if more.is_empty() {
        return Ok(Finding::fine(subject, "has no rights beyond its database"));
    }
    let rights: Vec<_> = more.iter().map(|(right, _)| *right).collect();
    let revoke: Vec<_> = more.iter().map(|(_, revoke)| *revoke).collect();
    Ok(Finding::new(
        Severity::Warning,
        subject,
        format!(
            "{}: whoever gets hold of the service gets hold of more than its data",
            rights.join(", ")
        ),
        format!(
            "give the service a role of its own (`database provision` makes one), or `ALTER ROLE \"{role}\" {}`",
            revoke.join(" ")
        ),
    ))
}

/// Whether the service can make its tables, and nobody else can come in.
fn doors(target: &Target, row: &Row) -> Result<Vec<Finding>> {
    let (name, place) = (target.database(), target.place());
    let mut findings = Vec::new();
    if !row.get::<bool>("may_create")? {
        let role: String = row.get("role")?;
        findings.push(Finding::new(
            Severity::Error,
            &place,
            "the role cannot make tables: the service will not start",
            format!("`ALTER DATABASE \"{name}\" OWNER TO \"{role}\"`"),
        ));
    }
    if row.get("open_to_all")? {
        findings.push(Finding::new(
            Severity::Warning,
            &place,
            "every role of the server can connect to it, those of other services too",
            format!("`REVOKE ALL ON DATABASE \"{name}\" FROM PUBLIC`"),
        ));
    }
    Ok(findings)
}

/// Whether its clock and ours agree, as far as the time of an answer allows to tell.
fn clocks(server: &str, asked: Timestamp, theirs: i64, answered: Timestamp) -> Finding {
    let (asked, answered) = (asked.as_millisecond(), answered.as_millisecond());
    let (behind, ahead) = (asked - theirs, theirs - answered);
    let apart = Duration::from_millis(behind.max(ahead).max(0).unsigned_abs());
    let subject = format!("{server}, clock");
    if apart <= SKEW_MAX {
        return Finding::fine(subject, format!("agrees with ours within {SKEW_MAX:?}"));
    }
    let direction = if behind > ahead { "behind" } else { "ahead of" };
    Finding::new(
        Severity::Warning,
        subject,
        format!(
            "is {} s {direction} ours: times in the data are not to be compared, and leases end early or late",
            apart.as_secs()
        ),
        "synchronize the clocks of both machines (NTP)",
    )
}

fn failed(subject: String, error: &Error) -> Finding {
    let advice = match error {
        Error::Unavailable { .. } => "start it, or correct `database`",
        Error::Url { .. } | Error::UrlParameter { .. } => "correct `database`",
        _ => "",
    };
    Finding::new(Severity::Error, subject, chain(error), advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_that_differ_by_more_than_an_answer_takes_are_told_of() {
        let at = |second| Timestamp::from_second(second).expect("a time");
        let found = |theirs: i64| clocks("db", at(100), theirs * 1000, at(102));
        for theirs in [99, 100, 101, 102, 103] {
            assert_eq!(found(theirs).severity, Severity::Fine, "{theirs}");
        }
        let ahead = found(112);
        assert_eq!(ahead.severity, Severity::Warning);
        assert!(
            ahead.found.starts_with("is 10 s ahead of ours"),
            "{ahead:?}"
        );
        let behind = found(40);
        assert_eq!(behind.severity, Severity::Warning);
        assert!(
            behind.found.starts_with("is 60 s behind ours"),
            "{behind:?}"
        );
    }
}
