//! The edge: one door to every service.
