//! G10: what a verifier refuses, and the little that it believes.

mod forge;

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use forge::{Clock, close, header, open, order_service, sign_as, with_claim, without_claim};
use outrigger_identity::{
    Caller, Error, Jwks, Keyring, LEEWAY, TOKEN_LIFETIME, TrustedKeys, Verifier,
};
use proptest::prelude::*;
use ring::hmac;
use serde_json::json;

fn verify(keyring: &Keyring, token: &str) -> Result<Caller, Error> {
    Verifier::new(keyring, "user-service").verify(token)
}

#[test]
fn a_token_tells_who_calls_and_what_the_caller_may_do() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();

    let caller = verify(&keyring, &token).unwrap();

    assert_eq!(caller.service, "order-service");
    assert!(caller.may("call"));
    assert!(!caller.may("refund"));
}

#[test]
fn a_published_key_set_is_enough_to_verify() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let published = serde_json::to_string(&keyring.jwks()).unwrap();
    assert!(!published.contains(r#""d""#), "a private key is published");

    let jwks: Jwks = serde_json::from_str(&published).unwrap();
    let trusted = TrustedKeys::from(&jwks);
    let verifier = Verifier::new(trusted.clone(), "user-service");
    assert_eq!(verifier.verify(&token).unwrap().service, "order-service");

    trusted.replace(&Keyring::generate().jwks());
    assert!(matches!(verifier.verify(&token), Err(Error::UnknownKey)));
}

#[test]
fn g10_closed_to_a_key_of_another_ring() {
    let ours = Keyring::generate();
    let token = order_service(&Keyring::generate())
        .token("user-service")
        .unwrap();
    assert!(matches!(verify(&ours, &token), Err(Error::UnknownKey)));

    // The same under our key's name.
    let (_, claims) = open(&token);
    let forged = close(
        &header(&ours, "EdDSA"),
        &claims,
        sign_as(&Keyring::generate()),
    );
    assert!(matches!(verify(&ours, &forged), Err(Error::Signature)));
}

#[test]
fn g10_closed_to_a_changed_claim() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let signature = token.rsplit('.').next().unwrap();
    let (header, mut claims) = open(&token);
    claims["permissions"] = json!(["call", "refund"]);

    let forged = close(&header, &claims, |_| {
        URL_SAFE_NO_PAD.decode(signature).unwrap()
    });

    assert!(matches!(verify(&keyring, &forged), Err(Error::Signature)));
}

#[test]
fn g10_closed_to_another_audience() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let payment = Verifier::new(&keyring, "payment-service");
    assert!(matches!(
        payment.verify(&token),
        Err(Error::Audience { expected }) if expected == "payment-service"
    ));
}

#[test]
fn g10_closed_to_another_issuer() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let foreign = with_claim(&keyring, &token, "iss", json!("somebody"));
    assert!(matches!(verify(&keyring, &foreign), Err(Error::Issuer)));
}

#[test]
fn g10_closed_once_the_token_has_expired() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();

    clock.advance(TOKEN_LIFETIME + LEEWAY - Duration::from_secs(1));
    assert!(verify(&keyring, &token).is_ok(), "within the leeway");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(verify(&keyring, &token), Err(Error::Expired)));
}

#[test]
fn g10_closed_to_a_token_from_the_future() {
    let (clock, _entered) = Clock::enter();
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();

    clock.set_back(LEEWAY);
    assert!(verify(&keyring, &token).is_ok(), "within the leeway");
    clock.set_back(Duration::from_secs(1));
    assert!(matches!(verify(&keyring, &token), Err(Error::NotYetValid)));
}

#[test]
fn g10_closed_to_a_token_that_lacks_a_claim() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    for claim in ["iss", "sub", "aud", "iat", "exp", "jti", "permissions"] {
        let poorer = without_claim(&keyring, &token, claim);
        assert!(
            matches!(verify(&keyring, &poorer), Err(Error::Malformed(_))),
            "without {claim}"
        );
    }
}

#[test]
fn g10_closed_to_claims_of_absurd_size() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    for (claim, value) in [("exp", i64::MIN), ("iat", i64::MAX)] {
        let absurd = with_claim(&keyring, &token, claim, json!(value));
        assert!(verify(&keyring, &absurd).is_err(), "{claim} = {value}");
    }
}

#[test]
fn g10_closed_to_no_algorithm() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let (_, claims) = open(&token);
    for name in ["none", "None", "NONE", ""] {
        let unsigned = close(&header(&keyring, name), &claims, |_| Vec::new());
        assert!(matches!(verify(&keyring, &unsigned), Err(Error::Algorithm)));
    }
    let empty_signature = close(&header(&keyring, "EdDSA"), &claims, |_| Vec::new());
    assert!(matches!(
        verify(&keyring, &empty_signature),
        Err(Error::Signature)
    ));
}

#[test]
fn g10_closed_to_the_public_key_as_a_shared_secret() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let (_, claims) = open(&token);
    let public = forge::stolen(&keyring)["x"].as_str().unwrap().to_owned();
    for secret in [public.as_bytes(), &URL_SAFE_NO_PAD.decode(&public).unwrap()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let confused = close(&header(&keyring, "HS256"), &claims, |message| {
            hmac::sign(&key, message).as_ref().to_vec()
        });
        assert!(matches!(verify(&keyring, &confused), Err(Error::Algorithm)));
    }
}

#[test]
fn g10_closed_to_critical_headers_that_nobody_here_knows() {
    let keyring = Keyring::generate();
    let token = order_service(&keyring).token("user-service").unwrap();
    let (mut header, claims) = open(&token);
    header["crit"] = json!(["exp"]);
    let critical = close(&header, &claims, sign_as(&keyring));
    assert!(matches!(
        verify(&keyring, &critical),
        Err(Error::Malformed(_))
    ));
}

proptest! {
    #[test]
    fn g10_closed_to_any_text_without_a_panic(text in any::<String>()) {
        let keyring = Keyring::generate();
        prop_assert!(verify(&keyring, &text).is_err());
    }

    #[test]
    fn g10_closed_to_any_bytes_in_the_place_of_a_part(
        part in 0..3_usize,
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let keyring = Keyring::generate();
        let token = order_service(&keyring).token("user-service").unwrap();
        let replacement = URL_SAFE_NO_PAD.encode(bytes);
        let mut parts: Vec<&str> = token.split('.').collect();
        parts[part] = &replacement;
        prop_assert!(verify(&keyring, &parts.join(".")).is_err());
    }

    #[test]
    fn g10_closed_to_any_authorization_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        if let Ok(value) = http::HeaderValue::from_bytes(&bytes) {
            let headers = http::HeaderMap::from_iter([(http::header::AUTHORIZATION, value)]);
            let verifier = Verifier::new(&Keyring::generate(), "user-service");
            prop_assert!(verifier.verify_headers(&headers).is_err());
        }
    }
}
