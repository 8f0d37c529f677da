//! Why manifests could not be rendered.

/// An error of rendering.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The image reference is empty or holds white space.
    #[error("`{0}` is not an image reference; write it as registry/name:tag")]
    Image(String),
    /// The namespace is not a DNS label (RFC 1123).
    #[error("`{0}` is not a namespace; use lower-case letters, digits and hyphens")]
    Namespace(String),
    /// A manifest could not be written as YAML.
    #[error("the {kind} of {service} cannot be written as YAML")]
    Yaml {
        /// What kind of manifest.
        kind: &'static str,
        /// Of which service.
        service: String,
        /// What the serializer says.
        #[source]
        source: serde_yaml_ng::Error,
    },
}
