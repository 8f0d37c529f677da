//! What customers are told.
