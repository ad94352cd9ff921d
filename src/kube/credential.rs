//! The credential for the API server, and the error if the server does not accept it.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::{ClusterError, Expiry};
use super::file;
use super::shared::Identity;

/// The largest token that is read; a server refuses headers far below it.
const MAX_TOKEN_BYTES: u64 = 64 << 10;

/// The kinds of credentials.
#[derive(Debug)]
pub(super) enum Proof {
    /// Nothing was configured.
    Nothing,
    /// A token in the kubeconfig.
    Token(SecretString),
    /// A file with a token that is replaced before it expires, so it is read for each request.
    TokenFile {
        path: PathBuf,
        /// The kubeconfig's own token, used if the file cannot be read.
        instead: Option<SecretString>,
        /// The token that was read last, for a message.
        last: Mutex<Option<SecretString>>,
    },
    /// A token that an exec plugin printed.
    Exec { command: String, token: SecretString, expires: Option<DateTime<Utc>> },
    /// A name and a password.
    Password { user: String, password: SecretString },
    /// A client certificate, with its file unless it is in the kubeconfig itself.
    Certificate(Option<PathBuf>),
}

impl Proof {
    /// Adds what tells this proof from others.
    pub(super) fn identify(&self, identity: &mut Identity) {
        let text = |secret: &SecretString| secret.expose_secret().as_bytes().to_vec();
        let (kind, parts): (&str, [Option<Vec<u8>>; 2]) = match self {
            Self::Nothing => ("nothing", [None, None]),
            Self::Token(token) => ("token", [Some(text(token)), None]),
            Self::TokenFile { path, instead, .. } => {
                let path = path.as_os_str().as_encoded_bytes().to_vec();
                ("file", [Some(path), instead.as_ref().map(text)])
            }
            Self::Exec { token, .. } => ("exec", [Some(text(token)), None]),
            Self::Password { user, password } => {
                ("password", [Some(user.clone().into_bytes()), Some(text(password))])
            }
            Self::Certificate(_) => ("certificate", [None, None]),
        };
        identity.push(Some(kind.as_bytes()));
        for part in &parts {
            identity.push(part.as_deref());
        }
    }

    /// A token in a file.
    pub(super) fn token_file(path: PathBuf, instead: Option<SecretString>) -> Self {
        Self::TokenFile { path, instead, last: Mutex::default() }
    }
}

/// A proof and the kubeconfig, or in-cluster directory, that it comes from.
#[derive(Debug)]
pub(super) struct Credential {
    pub(super) proof: Proof,
    pub(super) source: PathBuf,
}

impl Credential {
    /// The value of the `Authorization` header, unless TLS carries the proof. A file is read within
    /// `limit`.
    pub(super) async fn authorization(
        &self,
        limit: Duration,
    ) -> Result<Option<HeaderValue>, ClusterError> {
        let text = match &self.proof {
            Proof::Nothing | Proof::Certificate(_) => return Ok(None),
            Proof::Password { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                SecretString::from(format!("Basic {}", STANDARD.encode(pair)))
            }
            Proof::Token(token) | Proof::Exec { token, .. } => bearer(token),
            Proof::TokenFile { path, instead, last } => {
                let token = match (read_token(path, limit).await, instead) {
                    (Ok(token), _) => token,
                    (Err(_), Some(instead)) => instead.clone(),
                    (Err(problem), None) => {
                        return Err(ClusterError::Kubeconfig { path: path.clone(), problem });
                    }
                };
                let header = bearer(&token);
                if let Ok(mut last) = last.lock() {
                    *last = Some(token);
                }
                header
            }
        };
        let mut value = HeaderValue::from_str(text.expose_secret()).map_err(|_| {
            self.unusable("the credential has characters in it that no credential may have")
        })?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// The token that was sent last.
    fn token(&self) -> Option<SecretString> {
        match &self.proof {
            Proof::Token(token) | Proof::Exec { token, .. } => Some(token.clone()),
            Proof::TokenFile { last, .. } => last.lock().ok()?.clone(),
            Proof::Nothing | Proof::Password { .. } | Proof::Certificate(_) => None,
        }
    }

    /// The file to renew or correct if the server does not accept the proof.
    fn file(&self) -> &Path {
        match &self.proof {
            Proof::TokenFile { path, .. } | Proof::Certificate(Some(path)) => path,
            _ => &self.source,
        }
    }

    fn unusable(&self, problem: &str) -> ClusterError {
        ClusterError::Kubeconfig { path: self.file().to_owned(), problem: problem.to_owned() }
    }

    /// The error for a 401 of `server`, as of `now`.
    pub(super) fn refused(&self, server: &str, now: DateTime<Utc>) -> ClusterError {
        let expires = match &self.proof {
            Proof::Exec { expires: Some(expires), .. } => Some(*expires),
            _ => self.token().and_then(|token| end_of(token.expose_secret())),
        };
        ClusterError::Unauthorized {
            server: server.to_owned(),
            credential: self.describe(),
            file: Some(self.file().to_owned()),
            expiry: expires.map(|end| Expiry::at(end, now)),
        }
    }

    fn describe(&self) -> String {
        let file = self.file().display();
        match &self.proof {
            Proof::Nothing => format!("a call without a credential, and {file} has none"),
            Proof::Token(_) => format!("the token in {file}"),
            Proof::TokenFile { .. } => format!("the token of the file {file}"),
            Proof::Exec { command, .. } => {
                format!("the token that \"{command}\" gave, named in {file}")
            }
            Proof::Password { user, .. } => format!("the password of \"{user}\" in {file}"),
            Proof::Certificate(_) => format!("the client certificate in {file}"),
        }
    }
}

fn bearer(token: &SecretString) -> SecretString {
    SecretString::from(format!("Bearer {}", token.expose_secret().trim()))
}

async fn read_token(path: &Path, limit: Duration) -> Result<SecretString, String> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot read the token: {error}");
    let bytes = file::read(path, MAX_TOKEN_BYTES, limit).await.map_err(|error| failed(&error))?;
    let token = String::from_utf8(bytes).map_err(|_| failed(&"it is not text"))?;
    if token.trim().is_empty() { Err("holds no token".to_owned()) } else { Ok(token.into()) }
}

/// When a token expires, if it is a JSON web token with that claim (RFC 7519, section 4.1.4). The
/// signature is not verified: this is for a message alone.
pub(crate) fn end_of(token: &str) -> Option<DateTime<Utc>> {
    #[derive(Deserialize)]
    struct Claims {
        exp: serde_json::Number,
    }
    claims::<Claims>(token).and_then(|claims| instant(&claims.exp))
}

/// A token past half of its lifetime, or one without the claims that tell, is due to be renewed
/// (RFC 7519, section 4.1.6).
pub(crate) fn is_due(token: &str, now: DateTime<Utc>) -> bool {
    #[derive(Deserialize)]
    struct Claims {
        iat: serde_json::Number,
        exp: serde_json::Number,
    }
    let life =
        claims::<Claims>(token).and_then(|claims| instant(&claims.iat).zip(instant(&claims.exp)));
    life.is_none_or(|(issued, end)| now >= issued + (end - issued) / 2)
}

/// The claims of a JSON web token. The signature is not verified.
fn claims<T: DeserializeOwned>(token: &str) -> Option<T> {
    let mut parts = token.trim().split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// A number with a fraction is allowed; the second is enough.
fn instant(seconds: &serde_json::Number) -> Option<DateTime<Utc>> {
    let whole = seconds.to_string();
    DateTime::from_timestamp(whole.split('.').next()?.parse().ok()?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode("{}"), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn the_end_is_read_from_the_claims() {
        let end = |payload: &str| end_of(&token(payload)).map(|end| end.to_rfc3339());
        let expected = Some("2026-01-01T00:00:00+00:00".to_owned());
        assert_eq!(end(r#"{"exp": 1767225600, "sub": "x"}"#), expected);
        assert_eq!(end(r#"{"exp": 1767225600.75}"#), expected);
        for payload in ["{}", "[]", "", "x", r#"{"exp": "soon"}"#, r#"{"exp": 1e300}"#] {
            assert_eq!(end(payload), None, "{payload}");
        }
        for token in ["", "opaque", "a.b", "a.%%%.c", "..", "ä.ö.ü"] {
            assert_eq!(end_of(token), None, "{token}");
        }
    }

    #[test]
    fn a_token_is_due_at_half_of_its_life() {
        let now = |seconds: i64| DateTime::from_timestamp(1000 + seconds, 0).unwrap();
        let ours = token(r#"{"iat": 1000, "exp": 1100}"#);
        assert_eq!(
            [0, 49, 50, 99, 200].map(|at| is_due(&ours, now(at))),
            [false, false, true, true, true]
        );
        for unknown in
            [token(r#"{"exp": 9999999999}"#), token("{}"), "opaque".to_owned(), String::new()]
        {
            assert!(is_due(&unknown, now(0)), "{unknown}");
        }
    }

    #[test]
    fn a_refusal_names_the_file_and_the_end_and_never_the_token() {
        let secret = token(r#"{"exp": 1767225600}"#);
        let credential = Credential {
            proof: Proof::Token(secret.clone().into()),
            source: "/etc/braid/kubeconfig".into(),
        };
        let now = DateTime::from_timestamp(1_767_225_601, 0).unwrap();
        let error = credential.refused("h:6443", now);
        assert_eq!(
            error.to_string(),
            "the API server at h:6443 does not accept the token in /etc/braid/kubeconfig: \
             it expired at 2026-01-01T00:00:00Z"
        );
        assert!(!format!("{error:?} {credential:?}").contains(&secret));
        let earlier = DateTime::from_timestamp(1_767_225_599, 0).unwrap();
        assert!(credential.refused("h:6443", earlier).to_string().ends_with(
            "it would be valid until 2026-01-01T00:00:00Z, so it was revoked or belongs to another \
             cluster"
        ));
    }

    #[test]
    fn a_token_with_a_line_break_inside_is_no_header() {
        let credential =
            Credential { proof: Proof::Token("a\nb".to_owned().into()), source: "/k".into() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let error = runtime.block_on(credential.authorization(Duration::from_secs(1))).unwrap_err();
        assert!(error.to_string().starts_with("/k: the credential has characters"), "{error}");
    }
}
