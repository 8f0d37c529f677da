//! Durable sagas: an async fn that survives a crash, and undoes what it did when it fails.
