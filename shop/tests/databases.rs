//! The verbs for those who run the shop on servers: `database provision` and `doctor`, against private real ones.

use std::{
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use outrigger::{data, env};
use serde_json::Value;
use servers::{Nats, Postgres, postgres::Options};

/// Runs a verb with the settings at `config`.
fn shop(config: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_shop"))
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// What it says to programs, and whether it succeeded.
fn json(config: &Path, arguments: &[&str]) -> (bool, Value) {
    let output = shop(config, &[arguments, &["--output", "json"]].concat());
    let said = serde_json::from_slice(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    (output.status.success(), said.expect(&complaint))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The severities of the findings about `subject`.
fn severities(report: &Value, subject: &str) -> Vec<String> {
    let findings = report["findings"].as_array().expect("findings");
    let about = findings
        .iter()
        .filter(|it| it["subject"].to_string().contains(subject));
    about
        .map(|it| it["severity"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_provision_makes_the_doctor_finds_well() {
    let folder = tempfile::tempdir().expect("a folder");
    let postgres = Postgres::start_with(Options::new().fsync().password("admin")).await;
    let postgres = postgres.expect("a server");
    let nats = servers::nats::Options {
        sync_always: true,
        ..Default::default()
    };
    let nats = Nats::start(nats).await.expect("a server");
    let config = folder.path().join("outrigger.toml");

    let (file, admin) = (config.display().to_string(), postgres.url());
    let arguments = [
        "database",
        "provision",
        "--admin-url",
        &admin,
        "--write",
        &file,
    ];
    let made = shop(&config, &arguments);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let settings = std::fs::read_to_string(&config).expect("written");
    let (_, password) = settings
        .split_once("order-service:")
        .expect("the URL of a service");
    let password = password.split('@').next().expect("a password");
    for said in [text(&made.stdout), text(&made.stderr)] {
        assert!(
            !said.contains(password) && !said.contains("admin:"),
            "{said}"
        );
    }
    let mode = std::fs::metadata(&config)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let settings = format!("{settings}\n[messaging]\nbus = \"{}\"\n", nats.url());
    std::fs::write(&config, settings).expect("a file");
    let (healthy, report) = json(&config, &["doctor"]);
    assert!(healthy, "{report:#}");
    assert_eq!(severities(&report, "durability"), ["fine"]);
    assert_eq!(severities(&report, "clock"), ["fine"]);
    assert_eq!(severities(&report, "role "), ["fine"; 5]);
    assert_eq!(severities(&report, ", sync"), ["fine"]);
    let said = text(&shop(&config, &["doctor"]).stdout);
    assert!(
        !said.contains("warning") && !said.contains("error"),
        "{said}"
    );

    // Once more: nothing is made, and nothing is written that would spoil the settings.
    let again = shop(&config, &arguments);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert!(json(&config, &["doctor"]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_names_what_is_badly_set_and_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let lax = Options::new().setting("synchronous_commit", "off");
    let postgres = Postgres::start_with(lax).await.expect("a server"); // nor does it sync
    for service in shop::system().services() {
        postgres.database(service.name()).await.expect("a database");
    }
    let nats = Nats::start(servers::nats::Options::default()).await;
    let nats = nats.expect("a server");
    let config = folder.path().join("outrigger.toml");
    let settings = format!(
        "database = \"postgres://postgres@127.0.0.1:{}/{{service}}\"\n[messaging]\nbus = \"{}\"\n",
        postgres.port(),
        nats.url()
    );
    std::fs::write(&config, settings).expect("a file");

    let (healthy, report) = json(&config, &["doctor"]);
    assert!(!healthy, "{report:#}");
    assert_eq!(severities(&report, "durability"), ["error"]);
    assert_eq!(severities(&report, "role postgres"), ["warning"; 5]);
    assert_eq!(severities(&report, ", sync"), ["warning"]);
    let findings = report["findings"].as_array().expect("findings");
    for finding in findings {
        let nothing_to_do = finding["advice"] == "";
        assert_eq!(nothing_to_do, finding["severity"] == "fine", "{finding}");
    }
    let said = text(&shop(&config, &["doctor"]).stdout);
    assert!(
        said.contains("fsync is off: ") && said.contains("`fsync = on`"),
        "{said}"
    );
    assert!(said.contains("NOSUPERUSER"), "{said}");

    // The same is said when a service starts.
    let mut service = Command::new(env!("CARGO_BIN_EXE_shop"))
        .arg("--config")
        .arg(&config)
        .args(["serve", "user-service", "--data"])
        .arg(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut ready = String::new();
    let out = service.stdout.as_mut().expect("piped");
    BufReader::new(out).read_line(&mut ready).expect("a line");
    service.kill().expect("it runs");
    let output = service.wait_with_output().expect("it ended");
    let said = ready + &text(&output.stderr) + &text(&output.stdout);
    assert_eq!(said.matches("fsync is off: ").count(), 1, "{said}");
    assert!(said.contains("is a superuser"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_can_enter_the_database_of_another_service() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("none.toml");
    let postgres = Postgres::start_with(Options::new().password("admin")).await;
    let postgres = postgres.expect("a server");
    let admin = postgres.url();
    let provision = |more: &[&str]| {
        let arguments = ["database", "provision", "--admin-url", &admin];
        json(&config, &[&arguments, more].concat())
    };
    let url = |report: &Value, service: &str| {
        let services = report["services"].as_array().expect("services");
        let found = services.iter().find(|it| it["service"] == service);
        found.expect(service)["url"].as_str().map(str::to_owned)
    };

    // Where the passwords would go nowhere, nothing is made.
    let nowhere = shop(&config, &["database", "provision", "--admin-url", &admin]);
    assert!(
        text(&nowhere.stderr).contains("--print-passwords"),
        "{nowhere:?}"
    );
    assert!(
        !data::is_provisioned(&admin, "user-service")
            .await
            .expect("a server")
    );

    let (_, first) = provision(&["--print-passwords"]);
    let user = url(&first, "user-service").expect("printed");
    let order = url(&first, "order-service").expect("printed");
    data::Database::open(&order).await.expect("its own");
    let into_other = user
        .strip_suffix("/user-service")
        .expect("its own database");
    let into_other = format!("{into_other}/order-service");
    let refused = data::Database::inspect(&into_other).await;
    let refused = env::chain(&refused.expect_err("another's"));
    assert!(refused.contains("permission denied"), "{refused}");

    let (_, second) = provision(&["--print-passwords"]);
    assert_eq!(url(&second, "user-service"), None);
    data::Database::open(&user)
        .await
        .expect("the password stays");
    let one = [
        "--print-passwords",
        "--new-passwords",
        "--service",
        "user-service",
    ];
    let (_, third) = provision(&one);
    assert_eq!(third["services"].as_array().map(Vec::len), Some(1));
    data::Database::open(&url(&third, "user-service").expect("printed"))
        .await
        .expect("the new password");
    data::Database::inspect(&user)
        .await
        .expect_err("the old password");

    let unknown = [
        "database",
        "provision",
        "--admin-url",
        &admin,
        "--print-passwords",
        "--service",
        "usr",
    ];
    let unknown = shop(&config, &unknown);
    assert!(
        text(&unknown.stderr).contains("there is no service usr"),
        "{unknown:?}"
    );

    let open = folder.path().join("open.toml");
    std::fs::write(&open, "").expect("a file");
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).expect("a file");
    let open = open.display().to_string();
    let refused = shop(
        &config,
        &[
            "database",
            "provision",
            "--admin-url",
            &admin,
            "--write",
            &open,
        ],
    );
    assert!(text(&refused.stderr).contains("chmod 600"), "{refused:?}");
}
