//! TLS in front of a server that has none, with a private certification authority.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use env::net::{Listener, Stream};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

use crate::Error;

/// Takes encrypted connections and passes them on, until it is dropped.
pub struct Tls {
    address: SocketAddr,
    authority: PathBuf,
    passing: JoinHandle<()>,
    _folder: TempDir,
}

impl Tls {
    /// Passes connections on to what listens on `behind`. It shows a certificate for 127.0.0.1.
    ///
    /// # Errors
    /// [`Error::Folder`] where it has no port, no folder or no certificate.
    pub async fn before(behind: SocketAddr) -> Result<Self, Error> {
        let (authority, config) = certified().map_err(unprepared)?;
        let folder = tempfile::tempdir().map_err(Error::Folder)?;
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, authority).map_err(Error::Folder)?;
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = env::net::listen(any).await.map_err(Error::Folder)?;
        Ok(Self {
            address: listener.local_addr().map_err(Error::Folder)?,
            authority: file,
            passing: tokio::spawn(pass(listener, TlsAcceptor::from(config), behind)),
            _folder: folder,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The PEM file of the authority that vouches for it, and for nobody else.
    pub fn authority(&self) -> &Path {
        &self.authority
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// The certificate of a new authority, as PEM, and a server with one that it has signed.
fn certified() -> Result<(String, Arc<ServerConfig>), env::BoxError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    let certificate = params.signed_by(&key, &authority)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    Ok((authority.pem(), Arc::new(config)))
}

async fn pass(mut listener: Listener, acceptor: TlsAcceptor, behind: SocketAddr) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(pass_one(stream, acceptor.clone(), behind));
    }
}

async fn pass_one(
    stream: Stream,
    acceptor: TlsAcceptor,
    behind: SocketAddr,
) -> std::io::Result<()> {
    let mut outside = acceptor.accept(stream).await?;
    let mut inside = env::net::connect(behind).await?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

fn unprepared(error: env::BoxError) -> Error {
    Error::Folder(std::io::Error::other(error))
}
