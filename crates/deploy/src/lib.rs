//! Renders the manifests of a system.
