//! What the services of the shop say to each other.
