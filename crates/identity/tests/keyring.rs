//! Keys: their file, and their rotation with overlap.

mod forge;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    time::Duration,
};

use forge::{Clock, order_service};
use outrigger_identity::{Error, Keyring, LEEWAY, TOKEN_LIFETIME, Verifier};

#[test]
fn processes_that_open_one_file_trust_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");

    let first = Keyring::open(&path).unwrap();
    let second = Keyring::open(&path).unwrap();

    let token = order_service(&first).token("user-service").unwrap();
    assert!(
        Verifier::new(&second, "user-service")
            .verify(&token)
            .is_ok()
    );
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "no file is left over"
    );
}

#[test]
fn a_key_file_that_everybody_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    Keyring::generate().save(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();

    let error = Keyring::open(&path).unwrap_err();

    assert!(matches!(error, Error::Exposed { mode: 0o644, .. }));
    assert!(error.to_string().contains("chmod 600"));
}

#[test]
fn a_damaged_key_file_is_named_and_never_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    Keyring::generate().save(&path).unwrap();
    let whole = fs::read_to_string(&path).unwrap();
    let other = forge::stolen(&Keyring::generate());
    let ours: serde_json::Value = serde_json::from_str(&whole).unwrap();
    let mixed = whole.replace(
        ours["keys"][0]["d"].as_str().unwrap(),
        other["d"].as_str().unwrap(),
    );
    for text in [&whole[..whole.len() / 2], "", "{}", &mixed] {
        fs::write(&path, text).unwrap();
        assert!(matches!(Keyring::open(&path), Err(Error::Damaged { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn keys_never_print() {
    let keyring = Keyring::generate();
    let issuer = order_service(&keyring);
    let token = issuer.token("user-service").unwrap();
    let secret = forge::stolen(&keyring)["d"].as_str().unwrap().to_owned();

    let printed = format!("{keyring:?} {issuer:?} {:?}", issuer.bearer("user-service"));

    assert!(!printed.contains(&secret));
    assert!(!printed.contains(&*token));
}

#[test]
fn a_rotation_lets_every_token_live_to_its_end() {
    let (clock, _entered) = Clock::enter();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let rotating = Keyring::open(&path).unwrap();
    let other = Keyring::open(&path).unwrap();
    let issuer = order_service(&rotating);
    let verifier = Verifier::new(&other, "user-service");
    let ahead = Duration::from_secs(60);

    rotating.rotate(ahead).unwrap();
    assert_eq!(rotating.jwks().ids().len(), 2, "the next key is published");
    clock.advance(ahead - Duration::from_secs(1));
    let last_of_the_old = issuer.token("user-service").unwrap();
    assert!(other.refresh().unwrap());
    assert!(!other.refresh().unwrap(), "nothing new");
    verifier
        .verify(&last_of_the_old)
        .expect("signed by the old key");

    clock.advance(Duration::from_secs(1));
    let first_of_the_new = issuer.token("user-service").unwrap();
    assert_ne!(
        first_of_the_new, last_of_the_old,
        "the new key signs at once"
    );
    verifier
        .verify(&first_of_the_new)
        .expect("signed by the new key");
    clock.advance(TOKEN_LIFETIME - Duration::from_secs(2));
    verifier.verify(&last_of_the_old).expect("not over yet");

    clock.advance(3 * LEEWAY);
    assert_eq!(other.jwks().ids().len(), 1, "the old key is gone");
    assert!(matches!(
        verifier.verify(&last_of_the_old),
        Err(Error::UnknownKey)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_ring_follows_its_file_and_keeps_its_keys_while_that_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let rotating = Keyring::open(&path).unwrap();
    let other = Keyring::open(&path).unwrap();
    let every = Duration::from_secs(30);
    tokio::spawn(other.clone().follow_file(every));

    fs::write(&path, "").unwrap();
    env::sleep(3 * every).await;
    assert_eq!(other.jwks().ids(), rotating.jwks().ids());

    rotating.rotate(Duration::ZERO).unwrap();
    assert_eq!(rotating.jwks().ids().len(), 2);
    env::sleep(every + Duration::from_secs(1)).await;
    assert_eq!(other.jwks().ids(), rotating.jwks().ids());
}

#[test]
fn a_clock_that_is_a_little_slow_can_still_sign() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    clock.set_back(LEEWAY);
    let token = order_service(&keyring).token("user-service").unwrap();
    Verifier::new(&keyring, "user-service")
        .verify(&token)
        .unwrap();

    clock.set_back(Duration::from_secs(1));
    assert!(matches!(
        order_service(&keyring).token("user-service"),
        Err(Error::NoSigningKey)
    ));
}
