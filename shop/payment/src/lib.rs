//! Charges and refunds.
