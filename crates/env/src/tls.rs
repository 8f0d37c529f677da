//! Encrypted connections: rustls, with ring.
//!
//! What is guaranteed: nothing is sent to a server whose certificate is not vouched for, for its name, by the
//! [`Authorities`] that were asked for.

use std::{fmt, io, path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{
            CertificateDer, ServerName,
            pem::{self, PemObject},
        },
    },
};

use crate::net::Stream;

/// Who must vouch for the certificate of a server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Authorities {
    /// Those that this machine believes.
    #[default]
    System,
    /// Those in this PEM file, and nobody else.
    File(PathBuf),
}

/// Why connections cannot be encrypted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file of the authorities cannot be read.
    #[error("the file of certificates {} cannot be read as PEM", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// The file of the authorities is one of something else.
    #[error("the file {} holds no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// What is built in and what servers speak have nothing in common.
    #[error("this build has no version of TLS in common with servers")]
    Versions(#[source] tokio_rustls::rustls::Error),
}

impl Authorities {
    /// Their certificates, read now.
    ///
    /// # Errors
    /// [`Error::Unreadable`], [`Error::NoCertificate`].
    pub fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::System => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
            Self::File(path) => {
                let found = CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|source| Error::Unreadable {
                        path: path.clone(),
                        source,
                    })?;
                roots.add_parsable_certificates(found);
                if roots.is_empty() {
                    return Err(Error::NoCertificate { path: path.clone() });
                }
            }
        }
        Ok(roots)
    }
}

/// Encrypts connections to servers. Cheap to clone.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl Tls {
    /// Believes servers that `authorities` vouch for. They are read now.
    ///
    /// # Errors
    /// As [`Authorities::roots`], and [`Error::Versions`].
    pub fn new(authorities: &Authorities) -> Result<Self, Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::Versions)?
            .with_root_certificates(authorities.roots()?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Encrypts `stream`, whose other side must show that it is `host`: a name, or an address.
    ///
    /// # Errors
    /// What is wrong with the other side, or with its certificate.
    pub async fn encrypt(&self, host: &str, stream: Stream) -> io::Result<Stream> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let encrypted = self.0.connect(name, stream).await?;
        Ok(Stream::Encrypted(Box::new(encrypted)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}
