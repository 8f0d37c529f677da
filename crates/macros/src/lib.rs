//! Derives for the messages of a system: `Event` and `Command`.
