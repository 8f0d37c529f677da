//! A private NATS server: there while it is wanted, gone after.

use std::{net::SocketAddr, process::Command, time::Duration};

use outrigger_servers::{Nats, nats::Options};

/// Names the file in which a process says where the server is that it forgets.
const TELL: &str = "FORGOTTEN_SERVER";

async fn listens(address: SocketAddr) -> bool {
    env::net::connect(address).await.is_ok()
}

#[tokio::test]
async fn nothing_of_it_stays() {
    let server = Nats::start(Options::default()).await.expect("started");
    let address = server.address();
    assert!(listens(address).await);
    drop(server);
    assert!(!listens(address).await, "somebody still listens");
}

#[tokio::test]
async fn a_server_that_is_forgotten_ends_with_its_process() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let program = std::env::current_exe().expect("this program");
    let forgetful = Command::new(program)
        .args(["forgetful", "--exact"])
        .env(TELL, file.path())
        .output();
    assert!(forgetful.expect("it runs").status.success());
    let told = std::fs::read_to_string(file.path()).expect("told");
    let address = told.parse().expect("an address");
    let ending = async {
        while listens(address).await {
            env::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = env::timeout(Duration::from_secs(30), ending).await;
    ended.expect("it ends");
}

/// What the test above runs, in a process of its own.
#[tokio::test]
async fn forgetful() {
    let Ok(tell) = std::env::var(TELL) else {
        return;
    };
    let server = Nats::start(Options::default()).await.expect("started");
    std::fs::write(tell, server.address().to_string()).expect("told");
    std::mem::forget(server);
}
