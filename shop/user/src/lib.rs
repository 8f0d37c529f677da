//! Users and their profiles.
