//! The whole gateway, from the first layer to the last.

mod anything;
mod door;
mod hygiene;
mod overload;
mod rate_limit;
mod refusals;
mod sockets;
mod upstream;
