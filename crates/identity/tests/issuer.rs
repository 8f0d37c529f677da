//! Tokens are kept, renewed in time, and given only for what was granted.

mod forge;

use forge::{Clock, order_service};
use outrigger_identity::{Error, Issuer, Keyring, LEEWAY, TOKEN_LIFETIME, Verifier};

#[test]
fn a_token_is_kept_until_it_is_nearly_spent() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let issuer = order_service(&keyring);
    let first = issuer.token("user-service").unwrap();

    clock.advance(TOKEN_LIFETIME * 4 / 5 - std::time::Duration::from_secs(1));
    assert_eq!(issuer.token("user-service").unwrap(), first);
    clock.advance(std::time::Duration::from_secs(1));
    let handle = issuer.clone();
    let second = handle.token("user-service").unwrap();

    assert_ne!(second, first);
    assert_eq!(issuer.token("user-service").unwrap(), second);
}

#[test]
fn a_token_that_was_signed_while_the_clock_was_ahead_is_not_kept_when_it_is_set_back() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let issuer = order_service(&keyring);
    let hour = std::time::Duration::from_secs(60 * 60);
    clock.advance(hour);
    let ahead = issuer.token("user-service").unwrap();
    clock.set_back(hour);

    let verifier = Verifier::new(&keyring, "user-service");
    assert!(matches!(verifier.verify(&ahead), Err(Error::NotYetValid)));
    let token = issuer.token("user-service").unwrap();
    assert_eq!(verifier.verify(&token).unwrap().service, "order-service");
}

#[test]
fn a_token_lives_as_long_as_its_issuer_says_but_never_longer_than_a_retired_key() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let verifier = Verifier::new(&keyring, "user-service");
    let hour = std::time::Duration::from_secs(60 * 60);
    let minute = std::time::Duration::from_secs(60);
    for (said, lives) in [(minute, minute), (hour, TOKEN_LIFETIME)] {
        let grants = [("user-service".to_owned(), vec!["call".to_owned()])];
        let issuer = Issuer::with_lifetime(keyring.clone(), "order-service", grants.into(), said);
        let token = issuer.token("user-service").unwrap();
        clock.advance(lives + LEEWAY - std::time::Duration::from_secs(1));
        assert!(verifier.verify(&token).is_ok());
        clock.advance(std::time::Duration::from_secs(1));
        assert!(matches!(verifier.verify(&token), Err(Error::Expired)));
        assert!(
            verifier
                .verify(&issuer.token("user-service").unwrap())
                .is_ok()
        );
    }
}

#[test]
fn nothing_is_issued_for_a_service_without_a_grant() {
    let issuer = order_service(&Keyring::generate());
    assert!(matches!(
        issuer.token("payment-service"),
        Err(Error::NotGranted { audience, .. }) if audience == "payment-service"
    ));
}

#[test]
fn the_header_value_carries_the_token_and_is_sensitive() {
    let keyring = Keyring::generate();
    let bearer = order_service(&keyring).bearer("user-service").unwrap();

    assert!(bearer.is_sensitive());
    let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, bearer)]);
    let verifier = Verifier::new(&keyring, "user-service");
    assert_eq!(
        verifier.verify_headers(&headers).unwrap().service,
        "order-service"
    );
}

#[test]
fn a_lasting_token_is_good_for_as_long_as_was_said_and_for_what_was_granted() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let issuer = order_service(&keyring);
    let day = std::time::Duration::from_secs(24 * 60 * 60);
    let token = issuer.lasting_token("user-service", day).unwrap();
    assert_ne!(*token, *issuer.token("user-service").unwrap());
    let verifier = Verifier::new(&keyring, "user-service");

    clock.advance(day);
    assert_eq!(verifier.verify(&token).unwrap().service, "order-service");
    clock.advance(LEEWAY);
    assert!(matches!(verifier.verify(&token), Err(Error::Expired)));
    let other = issuer.lasting_token("payment-service", day);
    assert!(matches!(other, Err(Error::NotGranted { .. })));
}
