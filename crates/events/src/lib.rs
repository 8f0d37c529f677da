//! CloudEvents, the bus and its backends, the outbox relay, consumers and dead letters.
