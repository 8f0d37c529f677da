//! Event store, aggregates and projections.
