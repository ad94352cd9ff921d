//! The server's certificate: a chain and its key, which may change while it serves.

use crate::conf_file::{self, ConfFileError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};

/// The files of a Secret of the type `kubernetes.io/tls`, as cert-manager fills it.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub(in crate::operator) enum CertificateError {
    /// A file cannot be read.
    #[error("the certificate cannot be read: {0}")]
    File(#[from] ConfFileError),
    /// It is not what it must be.
    #[error("{origin} is not a certificate chain with its key: {problem}")]
    Pair {
        /// Where it comes from.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// The authorities of the clients are none.
    #[error("{}: no certificate of an authority in it: {problem}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// A certificate chain and its key, in PEM.
#[derive(Clone, Eq, PartialEq)]
pub(super) struct Pair {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Pair {
    /// Reads both files of a directory.
    ///
    /// # Errors
    /// [`CertificateError::File`].
    pub(super) fn read(directory: &Path) -> Result<Self, CertificateError> {
        let read = |name| conf_file::read(&directory.join(name));
        Ok(Self { chain: read(CHAIN)?, key: read(KEY)? })
    }

    /// The pair as rustls wants it, if the key is the certificate's.
    ///
    /// # Errors
    /// [`CertificateError::Pair`].
    pub(super) fn certified(&self, origin: &str) -> Result<CertifiedKey, CertificateError> {
        let failed =
            |problem: String| CertificateError::Pair { origin: origin.to_owned(), problem };
        let chain = CertificateDer::pem_slice_iter(self.chain.as_bytes());
        let chain: Vec<CertificateDer<'static>> =
            chain.collect::<Result<_, _>>().map_err(|error| failed(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        let key = key.map_err(|error| failed(error.to_string()))?;
        let provider = rustls::crypto::ring::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| failed(error.to_string()))
    }
}

/// The certificate that is shown to clients; none until there is one.
#[derive(Debug, Default)]
pub(super) struct Certificate(RwLock<Option<Arc<CertifiedKey>>>);

impl Certificate {
    /// Shows this one from now on.
    pub(super) fn replace(&self, certified: CertifiedKey) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(certified));
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The protocols of the connection, best first.
pub(super) const HTTP2: &[u8] = b"h2";
const HTTP1: &[u8] = b"http/1.1";

/// TLS with this certificate. With a file of authorities, a client may show a certificate of
/// theirs; which request needs one is decided where it is answered.
///
/// # Errors
/// [`CertificateError`].
pub(super) fn server_config(
    certificate: Arc<Certificate>,
    authorities: Option<&Path>,
) -> Result<ServerConfig, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let failed =
                |problem: String| CertificateError::Authorities { path: path.to_owned(), problem };
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
            let verifier = verifier.allow_unauthenticated().build();
            builder.with_client_cert_verifier(verifier.map_err(|error| failed(error.to_string()))?)
        }
    };
    let mut config = builder.with_cert_resolver(certificate);
    config.alpn_protocols = vec![HTTP2.to_vec(), HTTP1.to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, CertificateError> {
    let text = conf_file::read(path)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text.as_bytes()) {
        let failed =
            |problem: String| CertificateError::Authorities { path: path.to_owned(), problem };
        let certificate = certificate.map_err(|error| failed(error.to_string()))?;
        roots.add(certificate).map_err(|error| failed(error.to_string()))?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> Pair {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        Pair { chain: made.cert.pem(), key: made.signing_key.serialize_pem() }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (one, other) = (pair(), pair());
        assert!(one.certified("the test").is_ok());
        let mixed = Pair { chain: one.chain.clone(), key: other.key };
        let error = mixed.certified("/etc/braid/tls").unwrap_err().to_string();
        assert!(
            error.starts_with("/etc/braid/tls is not a certificate chain with its key: "),
            "{error}"
        );
        for broken in [
            Pair { chain: String::new(), ..one.clone() },
            Pair { key: String::new(), ..one.clone() },
            Pair { chain: one.key.clone(), key: one.chain.clone() },
        ] {
            assert!(broken.certified("the test").is_err());
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = Pair::read(directory.path()).err().unwrap().to_string();
        assert!(error.contains("tls.crt"), "{error}");
        std::fs::write(directory.path().join("ca.crt"), "").unwrap();
        let none = server_config(Arc::default(), Some(&directory.path().join("ca.crt")));
        assert!(none.unwrap_err().to_string().contains("no certificate of an authority"));
    }
}
