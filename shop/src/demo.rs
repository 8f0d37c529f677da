//! Something to look at: the users and products that a first start begins with.
//!
//! Each has its own id, so that a later start adds nothing.

use serde_json::{Value, json};

/// The requests that make the demo: a path, and what is posted to it.
pub fn requests() -> Vec<(&'static str, Value)> {
    vec![
        (
            "/users",
            json!({"id": "ada", "email": "ada@example.com", "name": "Ada Lovelace"}),
        ),
        (
            "/users",
            json!({"id": "grace", "email": "grace@example.com", "name": "Grace Hopper"}),
        ),
        (
            "/products",
            json!({"id": "lamp", "name": "Desk lamp", "price": 99.99, "stock": 100}),
        ),
        (
            "/products",
            json!({"id": "desk", "name": "Oak desk", "price": 450, "stock": 20}),
        ),
        (
            "/products",
            json!({"id": "chair", "name": "Chair", "price": 129.5, "stock": 60}),
        ),
        (
            "/products",
            json!({"id": "globe", "name": "Globe, 1891", "price": 1200, "stock": 1}),
        ),
    ]
}

/// An order of what [`requests`] made.
pub fn order() -> Value {
    json!({"userId": "ada", "items": [{"productId": "lamp", "quantity": 2}]})
}
