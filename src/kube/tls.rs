//! TLS: what the server's certificate is verified against, and the client's own certificate.
//!
//! Made with rustls itself. kube's `rustls_client_config` first looks for certificates of the
//! "auth-provider" of a kubeconfig, which is not supported here, and links a JSONPath and a regular
//! expression engine for it: half a megabyte of the executable.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::AuthInfo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::ExposeSecret;

use cni::error::one_line;

/// What a kubeconfig offers on one connection first: several requests at once.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What the server's certificate is verified against.
pub(super) enum Trust {
    /// The certificate authorities of the node.
    System,
    /// These certificate authorities.
    Authorities(Vec<CertificateDer<'static>>),
    /// Nothing (`insecure-skip-tls-verify`).
    Anything,
}

/// The configuration of a connection. The client's certificate and key are those of `identity`, if
/// it has some as data.
///
/// # Errors
/// What is wrong with the certificates, without quoting them.
pub(super) fn client_config(trust: Trust, identity: &AuthInfo) -> Result<ClientConfig, String> {
    // ring builds for every supported architecture.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| said(&error))?;
    let builder = match trust {
        Trust::System => builder.with_platform_verifier().map_err(|error| said(&error))?,
        Trust::Authorities(authorities) => builder.with_root_certificates(store(authorities)?),
        Trust::Anything => {
            let verifier = Arc::new(UncheckedName(provider));
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let mut config = match read_identity(identity)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| format!("its client key cannot be used: {}", said(&error)))?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(config)
}

fn said(error: &Error) -> String {
    one_line(&error.to_string(), 500)
}

/// As client-go does, passes over an authority that is not valid beside one that is: bundles are
/// old, and the others must not be worth less for it.
fn store(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    let mut refused = None;
    for authority in authorities {
        refused = store.add(authority).err().or(refused);
    }
    let Some(error) = refused else { return Ok(store) };
    let problem = format!("a certificate authority is not valid: {}", said(&error));
    if store.is_empty() {
        return Err(problem);
    }
    log::warn!("{problem}; the others are used");
    Ok(store)
}

type ChainAndKey = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The client's certificates and its key. A file that holds both, as the kubelet writes its own,
/// may be named for either.
fn read_identity(identity: &AuthInfo) -> Result<Option<ChainAndKey>, String> {
    let decoded = |data: &str, name: &str| {
        STANDARD.decode(data.trim()).map_err(|_| format!("{name} is not base64"))
    };
    let certificate = identity.client_certificate_data.as_deref();
    let key = identity.client_key_data.as_ref().map(ExposeSecret::expose_secret);
    let (certificate, key) = match (certificate, key) {
        (None, None) => return Ok(None),
        (Some(_), None) => return Err("its user has a client certificate without a key".to_owned()),
        (None, Some(_)) => return Err("its user has a client key without a certificate".to_owned()),
        (Some(certificate), Some(key)) => {
            (decoded(certificate, "client-certificate-data")?, decoded(key, "client-key-data")?)
        }
    };
    let found = PrivateKeyDer::from_pem_slice(&key);
    let found = found.or_else(|_| PrivateKeyDer::from_pem_slice(&certificate));
    let found = found.map_err(|_| "its client key holds no private key in PEM")?;
    // Each certificate once, the client's own first.
    for pem in [&certificate, &key] {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => return Ok(Some((chain, found))),
            _ => {}
        }
    }
    Err("its client certificate holds no certificate in PEM".to_owned())
}

/// Takes any certificate whose key the server has.
#[derive(Debug)]
struct UncheckedName(Arc<CryptoProvider>);

impl ServerCertVerifier for UncheckedName {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn identity(certificate: &str, key: &str) -> Result<Option<ChainAndKey>, String> {
        read_identity(&AuthInfo {
            client_certificate_data: Some(STANDARD.encode(certificate)),
            client_key_data: Some(STANDARD.encode(key).into()),
            ..AuthInfo::default()
        })
    }

    /// The kubelet's `kubelet-client-current.pem` is named for both, and a kubeconfig of OpenSSL's
    /// may have the key in front.
    #[test]
    fn a_file_with_certificate_and_key_has_each_certificate_once() {
        let (certificate, key) = pair();
        let issuer = pair().0;
        let both = format!("{certificate}{issuer}{key}");
        let length = |certificate: &str, key: &str| {
            identity(certificate, key).map(|it| it.map(|(chain, _)| chain.len()))
        };
        assert_eq!(length(&both, &both), Ok(Some(2)));
        assert_eq!(length(&certificate, &both), Ok(Some(1)));
        assert_eq!(length(&both, "no key"), Ok(Some(2)));
        assert_eq!(length("no certificate", &both), Ok(Some(2)));
        let (leaf, _) = identity(&both, &both).unwrap().unwrap();
        assert_eq!(leaf[0], CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap());
        assert!(length(&certificate, &certificate).unwrap_err().contains("no private key"));
        assert!(length(&key, &key).unwrap_err().contains("no certificate"));
    }

    #[test]
    fn an_authority_that_is_not_valid_makes_the_others_worth_no_less() {
        let authority = || CertificateDer::from_pem_slice(pair().0.as_bytes()).unwrap();
        let broken = || CertificateDer::from(vec![0x30, 0x03, 0x02, 0x01, 0x01]);
        assert_eq!(store(vec![broken(), authority(), broken(), authority()]).unwrap().len(), 2);
        assert!(store(vec![broken()]).unwrap_err().contains("authority is not valid"));
    }
}
