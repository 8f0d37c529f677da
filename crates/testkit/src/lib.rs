//! TestEnvironment and the deterministic simulation.
