//! A certificate that the replicas make by themselves: an authority and what it has signed, both in
//! a Secret. The first replica that finds none, or one that is about to end, makes it; the others
//! read it. The API server learns of the authority from the webhook's configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Datelike, Days, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tokio::time::sleep;

use super::certificate::{Certificate, Pair};
use super::server::State;
use crate::kube::{SecretContents, WebhookSecret};
use crate::pod::name::NamespacedName;

/// The texts of the Secret: those of the server as cert-manager names them.
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
const AUTHORITY_KEY: &str = "ca.key";
/// Until when the server's certificate is used, in RFC 3339.
const RENEW_AFTER: &str = "renew-after";

/// How long the authority and what it signs are valid, in days, and when the latter is renewed.
const AUTHORITY_DAYS: u64 = 3_650;
const DAYS: u64 = 90;
const RENEWED_AFTER_DAYS: u64 = 60;
/// Clocks differ.
const DAYS_BEFORE: u64 = 1;

/// How often the Secret and the configuration are looked at, and after a failure.
const PAUSE: Duration = Duration::from_secs(60);
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Keeps the server's certificate, and the API server's trust in it, as they should be.
pub(super) async fn keep(
    secret: &WebhookSecret,
    name: &NamespacedName,
    certificate: &Certificate,
    state: &Arc<State>,
) {
    let mut shown = None;
    let mut problem = String::new();
    loop {
        match ensure(secret, name, certificate, &mut shown).await {
            Ok(()) => {
                problem.clear();
                state.set_ready(true);
                sleep(PAUSE).await;
            }
            Err(error) => {
                if problem != error {
                    log::error!("{error}; trying again");
                    problem = error;
                }
                sleep(AFTER_FAILURE).await;
            }
        }
    }
}

/// One look at the Secret and at the configuration.
async fn ensure(
    secret: &WebhookSecret,
    name: &NamespacedName,
    certificate: &Certificate,
    shown: &mut Option<Pair>,
) -> Result<(), String> {
    let contents = current(secret, name).await?;
    let text = |key: &str| contents.get(key).cloned().unwrap_or_default();
    let pair = Pair { chain: text(CHAIN), key: text(KEY) };
    if shown.as_ref() != Some(&pair) {
        let certified = pair.certified(&format!("Secret {name}"));
        certificate.replace(certified.map_err(|error| error.to_string())?);
        log::info!("the certificate in Secret {name} is shown from now on");
        *shown = Some(pair);
    }
    if secret.publish(&text(AUTHORITY)).await? {
        log::info!("the API server trusts the authority in Secret {name} from now on");
    }
    Ok(())
}

/// What the Secret holds, made first if it is missing or due. A replica that comes second reads
/// what the first has made.
async fn current(
    secret: &WebhookSecret,
    name: &NamespacedName,
) -> Result<BTreeMap<String, String>, String> {
    loop {
        let contents = secret.read().await?;
        let now = Utc::now();
        if is_current(&contents, now) {
            return Ok(contents.data);
        }
        let made = make(&contents.data, name, now)
            .map_err(|error| format!("no certificate can be made: {error}"))?;
        if secret.write(&contents, &made).await? {
            return Ok(made);
        }
    }
}

fn is_current(contents: &SecretContents, now: DateTime<Utc>) -> bool {
    let text = |key: &str| contents.data.get(key).map(String::as_str).unwrap_or_default();
    let end = DateTime::parse_from_rfc3339(text(RENEW_AFTER)).ok();
    let pair = Pair { chain: text(CHAIN).to_owned(), key: text(KEY).to_owned() };
    end.is_some_and(|end| now < end)
        && !text(AUTHORITY).is_empty()
        && pair.certified("the Secret").is_ok()
}

/// A certificate for the Service of this name, by the authority that is there already, if it is
/// one: the API server trusts it.
fn make(
    before: &BTreeMap<String, String>,
    name: &NamespacedName,
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, String>, rcgen::Error> {
    let old_key = before.get(AUTHORITY_KEY).and_then(|key| KeyPair::from_pem(key).ok());
    let old = before.get(AUTHORITY).filter(|text| !text.is_empty()).zip(old_key);
    let of_authority = authority_params(name, now);
    let (authority, authority_key) = match old {
        Some((authority, key)) => (authority.clone(), key),
        None => {
            let key = KeyPair::generate()?;
            (of_authority.self_signed(&key)?.pem(), key)
        }
    };
    let authority_key_text = authority_key.serialize_pem();
    let key = KeyPair::generate()?;
    let issuer = Issuer::new(of_authority, authority_key);
    let certificate = params(name, now)?.signed_by(&key, &issuer)?;
    let end = later(now, RENEWED_AFTER_DAYS).to_rfc3339();
    let texts = [
        (AUTHORITY, authority),
        (AUTHORITY_KEY, authority_key_text),
        (CHAIN, certificate.pem()),
        (KEY, key.serialize_pem()),
        (RENEW_AFTER, end),
    ];
    Ok(texts.into_iter().map(|(key, text)| (key.to_owned(), text)).collect())
}

/// The authority is known by its name and key, so that its parameters can be made again.
fn authority_params(name: &NamespacedName, now: DateTime<Utc>) -> CertificateParams {
    let mut params = valid_for(CertificateParams::default(), now, AUTHORITY_DAYS);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, format!("braid admission {name}"));
    params
}

fn params(name: &NamespacedName, now: DateTime<Utc>) -> Result<CertificateParams, rcgen::Error> {
    let service = format!("{}.{}.svc", name.name, name.namespace);
    let names = vec![service.clone(), format!("{service}.cluster.local")];
    let mut params = valid_for(CertificateParams::new(names)?, now, DAYS);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    params.distinguished_name.push(DnType::CommonName, "braid admission");
    Ok(params)
}

#[allow(clippy::cast_possible_truncation, reason = "a month and a day of it are less than 32")]
fn valid_for(mut params: CertificateParams, now: DateTime<Utc>, days: u64) -> CertificateParams {
    let day = |time: DateTime<Utc>| {
        rcgen::date_time_ymd(time.year(), time.month() as u8, time.day() as u8)
    };
    params.not_before = day(now.checked_sub_days(Days::new(DAYS_BEFORE)).unwrap_or(now));
    params.not_after = day(later(now, days));
    params
}

fn later(now: DateTime<Utc>, days: u64) -> DateTime<Utc> {
    now.checked_add_days(Days::new(days)).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(before: &BTreeMap<String, String>, now: DateTime<Utc>) -> SecretContents {
        let name = "braid/braid-admission".parse().unwrap();
        SecretContents { data: make(before, &name, now).unwrap(), ..SecretContents::default() }
    }

    #[test]
    fn a_certificate_is_renewed_before_it_ends_by_the_same_authority() {
        let now = Utc::now();
        let first = made(&BTreeMap::new(), now);
        assert!(is_current(&first, now) && is_current(&first, later(now, 59)));
        assert!(!is_current(&first, later(now, 61)));
        let second = made(&first.data, later(now, 61));
        assert!(is_current(&second, later(now, 61)));
        assert_eq!(first.data[AUTHORITY], second.data[AUTHORITY]);
        assert_ne!(first.data[CHAIN], second.data[CHAIN]);
    }

    #[test]
    fn a_secret_that_is_empty_or_broken_is_not_current() {
        let now = Utc::now();
        assert!(!is_current(&SecretContents::default(), now));
        for key in [CHAIN, KEY, AUTHORITY, RENEW_AFTER] {
            let mut contents = made(&BTreeMap::new(), now);
            contents.data.insert(key.to_owned(), String::new());
            assert!(!is_current(&contents, now), "{key}");
        }
    }
}
