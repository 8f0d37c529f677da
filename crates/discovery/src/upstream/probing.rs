//! Asking the instances of a service for their health, for as long as somebody calls it.

use std::sync::{Arc, Weak};

use arc_swap::Guard;
use axum_core::body::Body;
use futures::future::join_all;
use http::Request;

use super::{members::Member, ways::Shared};
use crate::health::Settings;

/// Asks each instance as often as `settings` say, until nobody has the upstream any more.
pub(super) async fn run(shared: Weak<Shared>, settings: Settings) {
    loop {
        env::sleep(settings.every).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        let pool = Guard::into_inner(shared.members.now());
        let asked = pool.members.iter().map(|member| async {
            let well = is_well(&shared, member, settings).await;
            shared.members.probed(member, well);
        });
        join_all(asked).await;
    }
}

async fn is_well(shared: &Shared, member: &Arc<Member>, settings: Settings) -> bool {
    let instance = &member.instance;
    let uri = format!("http://{}{}", instance.address, instance.health_path);
    let Ok(request) = Request::get(uri).body(Body::empty()) else {
        return false;
    };
    let answer = env::timeout(settings.timeout, shared.http.request(request)).await;
    matches!(answer, Ok(Ok(answer)) if answer.status().is_success())
}
