//! The verbs of a system's binary.
