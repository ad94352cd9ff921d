//! Who may talk to the double: its certificate authority, the certificates it makes, and its
//! tokens.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;

/// How many bytes of its key an authority has in its name.
const NAME_BYTES: usize = 40;

/// A user as the API server sees one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct User {
    pub(crate) name: String,
    pub(crate) groups: Vec<String>,
}

impl User {
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), groups: vec!["system:authenticated".to_owned()] }
    }

    /// The one that the manifests in `conf/kubernetes` know.
    pub(crate) fn braid() -> Self {
        Self::service_account("braid", "braid")
    }

    pub(crate) fn service_account(namespace: &str, name: &str) -> Self {
        Self::named(&format!("system:serviceaccount:{namespace}:{name}"))
    }

    /// The one who has set the cluster up, and may do everything.
    pub(crate) fn administrator() -> Self {
        Self { groups: vec!["system:masters".to_owned()], ..Self::named("kubernetes-admin") }
    }

    pub(crate) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == "system:masters")
    }

    /// The one of the DaemonSet's pods.
    pub(crate) fn installer() -> Self {
        Self::named("system:serviceaccount:braid:braid-installer")
    }
}

/// A certificate with its key, in PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    der: CertificateDer<'static>,
    key_der: Vec<u8>,
}

/// A certificate authority that lives as long as the test.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
    der: CertificateDer<'static>,
}

impl Authority {
    /// With this private key in PEM, or a new one.
    pub(crate) fn new(key: Option<&str>) -> Self {
        let key = key_pair(key);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // A name of its own, so that a client that trusts another one does not know the issuer.
        params
            .distinguished_name
            .push(DnType::CommonName, URL_SAFE_NO_PAD.encode(&key.public_key_raw()[..NAME_BYTES]));
        let certificate = params.self_signed(&key).unwrap();
        let (pem, der) = (certificate.pem(), certificate.der().clone());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// A server's certificate for these names and addresses, with this private key in PEM or a new
    /// one.
    pub(crate) fn server(&self, names: &[&str], key: Option<&str>) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names
            .iter()
            .map(|name| match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName((*name).try_into().unwrap()),
            })
            .collect();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, key_pair(key))
    }

    /// A client's certificate, or one that ended years ago.
    pub(crate) fn client(&self, name: &str, is_expired: bool) -> Pair {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if is_expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        self.issue(params, key_pair(None))
    }

    fn issue(&self, params: CertificateParams, key: KeyPair) -> Pair {
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
            key_der: key.serialize_der(),
        }
    }

    /// TLS as an API server does it: a client may show a certificate, and need not.
    pub(crate) fn server_config(&self, pair: &Pair, protocols: &[&str]) -> Arc<ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![pair.der.clone()], private_key(&pair.key_der))
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.into()
    }
}

fn key_pair(pem: Option<&str>) -> KeyPair {
    pem.map_or_else(KeyPair::generate, KeyPair::from_pem).unwrap()
}

fn private_key(der: &[u8]) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(der.to_vec()).into()
}

/// The tokens and certificates that are known, and whose they are.
#[derive(Default)]
pub(crate) struct Users {
    tokens: BTreeMap<String, (User, u64)>,
    certificates: BTreeMap<Vec<u8>, User>,
}

impl Users {
    /// A token of `user` that ends `seconds` from now, or did.
    pub(crate) fn add_token(&mut self, user: &User, seconds: i64) -> String {
        let end = now().saturating_add_signed(seconds);
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let number = self.tokens.len();
        let token = format!(
            "{}.{}.{}",
            part(json!({"alg": "RS256"})),
            part(json!({"sub": user.name, "iat": now(), "exp": end})),
            part(json!(format!("signature {number}")))
        );
        self.tokens.insert(token.clone(), (user.clone(), end));
        token
    }

    pub(crate) fn revoke(&mut self, token: &str) {
        self.tokens.remove(token);
    }

    pub(crate) fn add_certificate(&mut self, user: &User, pair: &Pair) {
        self.certificates.insert(pair.der.to_vec(), user.clone());
    }

    /// The user, as a server finds one: a certificate first, then the token.
    pub(crate) fn of(
        &self,
        certificate: Option<&CertificateDer<'_>>,
        authorization: Option<&str>,
    ) -> Option<User> {
        let by_certificate = certificate.and_then(|der| self.certificates.get(der.as_ref()));
        let token = || authorization.and_then(|value| value.strip_prefix("Bearer "));
        let by_token =
            || self.tokens.get(token()?).filter(|(_, end)| *end > now()).map(|(user, _)| user);
        by_certificate.or_else(by_token).cloned()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}
