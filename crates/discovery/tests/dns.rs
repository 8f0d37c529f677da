//! Names that are looked up again and again: what is seen when they change, fail, or are none.

mod conformance {
    #[allow(dead_code, reason = "`tests/conformance.rs` runs it")]
    pub(crate) mod suite;
}
mod names;

use std::{net::SocketAddr, time::Duration};

use conformance::suite::ids;
use names::Names;
use outrigger_discovery::{
    Dns, Error, Registry,
    registry::{Instances, dns::Options},
};

const NAME: &str = "user-service.shop:8080";
const FIRST: &str = "user-service@10.0.0.10:8080";
const SECOND: &str = "user-service@10.0.0.2:8080";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn dns(url: &str) -> Dns {
    Dns::new(url.parse().expect("options"))
}

#[tokio::test(start_paused = true)]
async fn a_name_that_changes_is_seen_within_its_time_and_one_that_fails_changes_nothing() {
    let names = Names::enter();
    names.set(NAME, &[address("10.0.0.10:8080")]);
    let registry = dns("dns://{service}.shop:8080?every=10s");
    let mut seen = registry.watch("user-service");
    ids(&mut seen, &[FIRST]).await;

    names.set(NAME, &[address("10.0.0.2:8080"), address("10.0.0.10:8080")]);
    let begun = env::instant();
    let both = seen.wait_for(|now| now.len() == 2);
    both.await.expect("followed");
    assert!(
        begun.elapsed() <= Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    ids(&mut seen, &[FIRST, SECOND]).await;
    assert!(begun.elapsed() + Duration::from_secs(12) >= registry.spread());

    seen.mark_unchanged();
    names.set(NAME, &[]);
    let before = names.asked();
    env::sleep(Duration::from_secs(3600)).await;
    assert!(
        !seen.has_changed().expect("followed"),
        "what is known stays"
    );
    assert!(
        names.asked() - before >= 360,
        "it is looked up nevertheless"
    );

    names.set(NAME, &[address("10.0.0.2:8080")]);
    ids(&mut seen, &[SECOND]).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_name_that_is_none_it_is_known_that_there_is_nobody_until_there_is() {
    let names = Names::enter();
    let registry = dns("dns://{service}.shop:8080");
    let mut seen = registry.watch("user-service");
    let told = seen.wait_for(Instances::is_known).await;
    assert!(told.expect("followed").is_empty());
    assert!(registry.services().await.expect("answered").is_empty());
    names.set(NAME, &[address("10.0.0.2:8080")]);
    ids(&mut seen, &[SECOND]).await;
    assert_eq!(
        registry.services().await.expect("answered"),
        ["user-service"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_machine_with_addresses_of_both_families_is_one_instance() {
    let names = Names::enter();
    names.set(NAME, &[address("[fd00::2]:8080"), address("10.0.0.2:8080")]);
    let registry = dns("dns://{service}.shop:8080");
    let mut seen = registry.watch("user-service");
    seen.wait_for(Instances::is_known).await.expect("followed");
    ids(&mut seen, &["user-service@[fd00::2]:8080"]).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_is_looked_up_for_whom_nobody_listens() {
    let names = Names::enter();
    names.set(NAME, &[address("10.0.0.2:8080")]);
    let registry = dns("dns://{service}.shop:8080");
    let mut seen = registry.watch("user-service");
    ids(&mut seen, &[SECOND]).await;
    drop(seen);
    env::sleep(Duration::from_secs(1)).await;
    let before = names.asked();
    env::sleep(Duration::from_secs(3600)).await;
    assert_eq!(names.asked(), before);
    ids(&mut registry.watch("user-service"), &[SECOND]).await;
}

#[test]
fn what_is_no_name_is_refused_with_how_to_write_it() {
    let whole: Options = "dns://{service}.shop.local:8080?every=2m"
        .replace("2m", "60s")
        .parse()
        .expect("whole");
    assert_eq!(
        whole.to_string(),
        "dns://{service}.shop.local:8080?every=60s"
    );
    for wrong in [
        "dns://users.shop.local:8080",
        "dns://{service}.shop.local",
        "dns://{service}.shop.local:0",
        "dns://{service}.shop.local:http",
        "dns://{service}.shop local:8080",
        "dns://{service}:8080?every=0s",
        "dns://{service}:8080?every=61s",
        "dns://{service}:8080?each=5s",
        "dns:{service}:8080",
    ] {
        let error = wrong.parse::<Options>().expect_err(wrong);
        assert!(matches!(error, Error::RegistryUrl { .. }));
        let said = error.to_string();
        assert!(said.contains("`dns://{service}.shop.local:8080`"), "{said}");
    }
}
