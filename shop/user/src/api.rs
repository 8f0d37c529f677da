//! `/users`: register, show, list, change.

use contracts::{
    Id, Page, PageRequest,
    user::{User, UserRegistered, UserUpdated},
};
use outrigger::{env, http::header::LOCATION, prelude::*};
use serde::Deserialize;

use crate::{
    domain::{Change, Email, Name},
    store,
};

/// The paths that are served.
pub fn routes() -> Router<Context> {
    Router::new()
        .route("/users", post(register).get(list))
        .route("/users/{id}", get(show).put(replace).patch(change))
}

#[derive(Deserialize)]
#[serde(expecting = "a user: an object with email and name")]
struct NewUser {
    id: Option<Id>,
    email: Email,
    name: Name,
}

async fn register(
    State(ctx): State<Context>,
    once: Idempotency,
    Json(new): Json<NewUser>,
) -> Result<impl IntoResponse, Rejection> {
    let user = match once.decided(ctx.db()).await? {
        // An earlier run of this request has registered the user, and could not say so.
        Some(user) => user,
        None => add(&ctx, &once, new).await?,
    };
    Ok((
        StatusCode::CREATED,
        [(LOCATION, format!("/users/{}", user.id))],
        Json(user),
    ))
}

async fn add(ctx: &Context, once: &Idempotency, new: NewUser) -> Result<User, Rejection> {
    let user = User {
        id: new.id.map_or_else(|| env::id().to_string(), String::from),
        email: new.email.as_str().to_owned(),
        name: new.name.into(),
        version: 1,
        created_at: contracts::now(),
    };
    let mut tx = ctx.db().begin().await?;
    once.decide(&mut tx, &user).await?;
    match store::insert(&mut tx, &user).await {
        Err(error) if error.is_unique_violation() => {
            drop(tx);
            return Err(match store::find(ctx.db(), &user.id).await? {
                Some(_) => taken("id", format!("There is a user {} already.", user.id)),
                None => address_taken(&user.email),
            });
        }
        inserted => inserted?,
    }
    tx.publish(UserRegistered {
        user_id: user.id.clone(),
        email: user.email.clone(),
        name: user.name.clone(),
    })?;
    tx.commit().await?;
    Ok(user)
}

async fn list(
    State(ctx): State<Context>,
    Query(page): Query<PageRequest>,
) -> Result<Json<Page<User>>, Rejection> {
    Ok(Json(store::list(ctx.db(), &page).await?))
}

async fn show(State(ctx): State<Context>, Path(id): Path<String>) -> Result<Json<User>, Rejection> {
    let user = store::find(ctx.db(), &id).await?;
    Ok(Json(user.ok_or_else(|| not_found(&id))?))
}

#[derive(Deserialize)]
#[serde(expecting = "a user: an object with email and name")]
struct Replacement {
    email: Email,
    name: Name,
}

async fn replace(
    state: State<Context>,
    once: Idempotency,
    id: Path<String>,
    Json(new): Json<Replacement>,
) -> Result<Json<User>, Rejection> {
    change(
        state,
        once,
        id,
        Json(Change {
            email: Some(new.email),
            name: Some(new.name),
        }),
    )
    .await
}

async fn change(
    State(ctx): State<Context>,
    once: Idempotency,
    Path(id): Path<String>,
    Json(change): Json<Change>,
) -> Result<Json<User>, Rejection> {
    // To change the user once more would undo what somebody else has changed since.
    if let Some(changed) = once.decided(ctx.db()).await? {
        return Ok(Json(changed));
    }
    let mut tx = ctx.db().begin().await?;
    let user = store::take(&mut tx, &id)
        .await?
        .ok_or_else(|| not_found(&id))?;
    let Some(changed) = change.apply(&user) else {
        return Ok(Json(user));
    };
    once.decide(&mut tx, &changed).await?;
    match store::update(&mut tx, &changed).await {
        Err(error) if error.is_unique_violation() => return Err(address_taken(&changed.email)),
        updated => updated?,
    }
    tx.publish(UserUpdated {
        user_id: changed.id.clone(),
        email: changed.email.clone(),
        name: changed.name.clone(),
        version: changed.version,
    })?;
    tx.commit().await?;
    Ok(Json(changed))
}

fn not_found(id: &str) -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "user-not-found",
        format!("There is no user {id}."),
    )
}

fn taken(field: &str, detail: String) -> Rejection {
    Problem::new(StatusCode::CONFLICT, "user-exists", detail)
        .with("field", field)
        .into()
}

fn address_taken(email: &str) -> Rejection {
    taken("email", format!("{email} is the address of another user."))
}
