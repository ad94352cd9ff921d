//! Why a request has no response, and whether another connection would change that.

use std::error::Error as StdError;
use std::io;

use super::access::Access;
use super::error::ClusterError;

/// Why there is no response.
#[derive(Debug)]
pub(super) enum TransportError {
    /// The connection failed, or could not be made: another one may do.
    Connection(String),
    /// Another connection would not change it.
    Final(ClusterError),
    /// The response is larger than any that Braid needs.
    TooLarge,
}

impl TransportError {
    /// Most errors of a connection pass; what TLS reports of a certificate does not.
    pub(super) fn from_connection(error: &(dyn StdError + 'static), access: &Access) -> Self {
        let server = access.server.to_string();
        match tls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) if is_about_our_certificate(*alert) => {
                Self::Final(access.credential.refused(&server, chrono::Utc::now()))
            }
            Some(tls @ rustls::Error::InvalidCertificate(_)) => {
                Self::Final(ClusterError::Untrusted {
                    server,
                    problem: tls.to_string(),
                    check: access.trust.clone(),
                })
            }
            _ => Self::Connection(innermost(error)),
        }
    }
}

fn is_about_our_certificate(alert: rustls::AlertDescription) -> bool {
    use rustls::AlertDescription as Alert;
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::UnknownCA
            | Alert::AccessDenied
            | Alert::CertificateRequired
    )
}

/// The error of TLS inside `error`: below sources and below what an I/O error wraps.
pub(super) fn tls_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>())
}

/// The innermost cause names what happened; those around it, which layer noticed.
fn innermost(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    // Bounded: an error may name itself as its source.
    std::iter::successors(Some(error), |error| cause(*error)).take(16)
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    match error.downcast_ref::<io::Error>() {
        // An I/O error hides what it wraps: its source is that error's source.
        Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_error_is_found_inside_an_io_error() {
        let tls = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        let error = io::Error::other(tls.clone());
        assert_eq!(tls_error(&error), Some(&tls));
        assert!(innermost(&error).contains("CertificateExpired"), "{}", innermost(&error));
        assert_eq!(tls_error(&io::Error::from(io::ErrorKind::ConnectionReset)), None);
    }
}
