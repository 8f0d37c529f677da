//! Registry, load balancing and the client for calls between services.
