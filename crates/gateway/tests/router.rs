//! Which route takes a request.

use http::Method;
use outrigger_gateway::{
    Config,
    router::{Match, Router},
};
use proptest::prelude::*;

fn router(routes: &[(&str, &[&str])]) -> Router {
    let text: String = routes
        .iter()
        .map(|(path, methods)| {
            format!("[[route]]\npath = {path:?}\nmethods = {methods:?}\nservice = \"s\"\n")
        })
        .collect();
    let config: Config = text.parse().expect("valid");
    Router::new(&config.routes).expect("valid")
}

#[test]
fn exact_wins_over_a_parameter_and_a_parameter_over_the_rest() {
    let router = router(&[
        ("/files/{*rest}", &["GET"]),
        ("/files/{id}", &["GET"]),
        ("/files/new", &["GET"]),
        ("/files", &["GET"]),
    ]);
    for (path, route) in [
        ("/files/new", 2),
        ("/files/7", 1),
        ("/files/new/x", 0),
        ("/files", 3),
    ] {
        assert_eq!(
            router.find(&Method::GET, path),
            Match::Found(route),
            "{path}"
        );
    }
}

#[test]
fn a_path_leads_by_its_method_to_different_routes() {
    let router = router(&[("/orders", &["GET"]), ("/orders", &["POST", "PUT"])]);
    assert_eq!(router.find(&Method::GET, "/orders"), Match::Found(0));
    assert_eq!(router.find(&Method::PUT, "/orders"), Match::Found(1));
}

#[test]
fn an_unknown_path_is_not_found_and_an_unknown_method_not_allowed() {
    let router = router(&[("/orders", &["GET"]), ("/orders", &["POST"])]);
    for path in [
        "",
        "*",
        "/",
        "/order",
        "/orders/",
        "/orders/1",
        "//orders",
        "/Orders",
    ] {
        assert_eq!(router.find(&Method::GET, path), Match::NotFound, "{path}");
    }
    let allow = "GET, HEAD, POST".to_owned();
    assert_eq!(
        router.find(&Method::DELETE, "/orders"),
        Match::MethodNotAllowed { allow }
    );
}

#[test]
fn head_goes_where_get_goes_unless_it_has_a_route() {
    let both = router(&[("/a", &["GET"]), ("/b", &["GET"]), ("/b", &["HEAD"])]);
    assert_eq!(both.find(&Method::HEAD, "/a"), Match::Found(0));
    assert_eq!(both.find(&Method::HEAD, "/b"), Match::Found(2));
    let posts = router(&[("/a", &["POST"])]);
    let allow = "POST".to_owned();
    assert_eq!(
        posts.find(&Method::HEAD, "/a"),
        Match::MethodNotAllowed { allow }
    );
}

proptest! {
    #[test]
    fn a_path_is_routed_as_its_segments_say(path in "(/[a-c{}*]{0,3}){0,4}") {
        let router = router(&[("/a", &["GET"]), ("/a/{id}", &["GET"]), ("/a/b", &["GET"])]);
        let segments: Vec<_> = path.split('/').skip(1).collect();
        let expected = match segments[..] {
            ["a"] => Match::Found(0),
            ["a", "b"] => Match::Found(2),
            ["a", id] if !id.is_empty() => Match::Found(1),
            _ => Match::NotFound,
        };
        prop_assert_eq!(router.find(&Method::GET, &path), expected);
    }
}
