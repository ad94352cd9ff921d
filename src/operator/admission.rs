//! `braid admission`: the webhook that an API server asks before it stores a pod, what makes pods,
//! or a NetworkAttachmentDefinition. It says what `braid validate` says, and what ADD would.
//!
//! ```text
//! AdmissionReview ─> object (bounded) ─> validate (rules, policy, definitions) ─> review
//! ```
//!
//! It holds nothing but the definitions that it watches, its certificate and the keys that all
//! nodes have. Without it pods start as ever.

mod certificate;
mod object;
mod own_certificate;
mod review;
mod server;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use futures_util::StreamExt;
use tokio::runtime::Builder;
use tokio::time::sleep;

use super::CommandError;
use super::console::{Console, Exit};
use super::keep::block;
use super::validate::{Catalogue, Definitions, Rules};
use crate::config::{Level, LogConfig};
use crate::kube::{DefinitionChange, WebhookSecret, lasting_client, watch_definitions};
use crate::observe::logging;
use crate::pod::name::NamespacedName;
use certificate::{Certificate, Pair};
use server::{Server, State};

pub(super) use certificate::CertificateError;

/// How often files are looked at. The kubelet itself takes up to a minute to renew a mounted one.
const PAUSE: Duration = Duration::from_secs(2);
/// How long to wait before the API is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// What `braid admission` is told.
#[derive(Args, Debug)]
pub(super) struct Admission {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// The directory with tls.crt and tls.key, which are read again when they change
    #[arg(long, value_name = "DIR", default_value = "/etc/braid/tls")]
    certificates: PathBuf,
    /// Make the certificate and keep it in this Secret; the Service and the webhook's configuration
    /// have the same name
    #[arg(long, value_name = "NAMESPACE/NAME", conflicts_with = "certificates")]
    self_signed: Option<NamespacedName>,
    /// Answer only clients with a certificate of the authorities in this file
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Keys of Braid's configuration that all nodes have, read again when they change
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How to reach the API [default: as a pod does]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Do not watch definitions: no right of the API is needed then
    #[arg(long)]
    without_definitions: bool,
}

/// Why the webhook cannot be served.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdmissionError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The system gives no threads or timers.
    #[error("cannot start: {0}")]
    Start(#[source] std::io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another one with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// There is no API to keep the certificate in.
    #[error("the API cannot be used for --self-signed: {0}")]
    Api(String),
}

impl Admission {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Exit, CommandError> {
        let level = Level::Verbose;
        logging::start(&LogConfig { to_stderr: true, level, ..LogConfig::default() });
        let _signals = block()?;
        let catalogue = Arc::new(Catalogue::default());
        let rules = self.rules(&catalogue)?;
        let state = Arc::new(State::new(rules, self.client_ca.is_some()));
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(AdmissionError::Start)?;
        let served = runtime.block_on(self.serve(&state, catalogue, console));
        // Without waiting: a name lookup that hangs must not hold up the end.
        runtime.shutdown_background();
        served.map(|()| Exit::Done)
    }

    fn rules(&self, catalogue: &Arc<Catalogue>) -> Result<Rules, CommandError> {
        Rules::of_cluster(self.settings.as_deref(), catalogue.clone())
    }

    async fn serve(
        &self,
        state: &Arc<State>,
        catalogue: Arc<Catalogue>,
        console: &mut Console<'_>,
    ) -> Result<(), CommandError> {
        let certificate = Arc::new(Certificate::default());
        let tls = certificate::server_config(certificate.clone(), self.client_ca.as_deref())
            .map_err(AdmissionError::Certificate)?;
        let failed = |source| AdmissionError::Listen { address: self.listen, source };
        let server = Server::bind(self.listen, tls, state.clone()).await.map_err(failed)?;
        let address = server.address().map_err(failed)?;
        self.keep_certificate(certificate, state).await?;
        if !self.without_definitions {
            tokio::spawn(keep_catalogue(self.kubeconfig.clone(), catalogue.clone()));
        }
        if let Some(settings) = self.settings.clone() {
            tokio::spawn(keep_rules(settings, catalogue, state.clone()));
        }
        console.progress(&format!("braid admission: listening on {address}"))?;
        server.run().await;
        Ok(())
    }

    /// Shows the certificate from now on, and the ones that follow it.
    async fn keep_certificate(
        &self,
        certificate: Arc<Certificate>,
        state: &Arc<State>,
    ) -> Result<(), AdmissionError> {
        let Some(name) = self.self_signed.clone() else {
            let directory = self.certificates.clone();
            let pair = Pair::read(&directory)?;
            certificate.replace(pair.certified(&directory.display().to_string())?);
            state.set_ready(true);
            tokio::spawn(keep_files(directory, pair, certificate));
            return Ok(());
        };
        let client = lasting_client(self.kubeconfig.as_deref()).await;
        let client = client.map_err(AdmissionError::Api)?;
        let state = state.clone();
        tokio::spawn(async move {
            let secret = WebhookSecret::new(client, name.clone());
            own_certificate::keep(&secret, &name, &certificate, &state).await;
        });
        Ok(())
    }
}

/// Follows the files of the certificate. Two files are not changed at once: as long as they do not
/// belong together, the old ones are shown.
async fn keep_files(directory: PathBuf, mut shown: Pair, certificate: Arc<Certificate>) {
    let mut problem = String::new();
    loop {
        sleep(PAUSE).await;
        let origin = directory.display().to_string();
        let read = Pair::read(&directory)
            .and_then(|pair| Ok((pair != shown).then_some((pair.certified(&origin)?, pair))));
        match read {
            Ok(None) => problem.clear(),
            Ok(Some((certified, pair))) => {
                certificate.replace(certified);
                shown = pair;
                log::info!("the certificate in {origin} has changed and is shown from now on");
            }
            Err(error) if error.to_string() != problem => {
                problem = error.to_string();
                log::error!("{problem}; the one from before is still shown");
            }
            Err(_) => {}
        }
    }
}

/// Follows the file of settings; what would not be valid is logged, and changes nothing.
async fn keep_rules(settings: PathBuf, catalogue: Arc<Catalogue>, state: Arc<State>) {
    let mut seen = modified(&settings);
    loop {
        sleep(PAUSE).await;
        let now = modified(&settings);
        if now == seen {
            continue;
        }
        seen = now;
        match Rules::of_cluster(Some(&settings), catalogue.clone()) {
            Ok(rules) => {
                state.replace_rules(rules);
                log::info!("{} has changed and holds from now on", settings.display());
            }
            Err(error) => log::error!("{error}; the settings from before still hold"),
        }
    }
}

fn modified(file: &Path) -> Option<(SystemTime, u64)> {
    let metadata = file.metadata().ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// Follows the definitions of the cluster. Without them pods are held against the rules alone.
async fn keep_catalogue(kubeconfig: Option<PathBuf>, catalogue: Arc<Catalogue>) {
    let mut problem = String::new();
    let mut complain = |error: String| {
        if error != problem {
            log::warn!("definitions cannot be watched: {error}; trying again");
            problem = error;
        }
    };
    let client = loop {
        match lasting_client(kubeconfig.as_deref()).await {
            Ok(client) => break client,
            Err(error) => complain(error),
        }
        sleep(AFTER_FAILURE).await;
    };
    let mut changes = std::pin::pin!(watch_definitions(client));
    let mut listed = Some(Definitions::default());
    while let Some(change) = changes.next().await {
        match change {
            Ok(change) => apply(change, &catalogue, &mut listed),
            Err(error) => complain(error),
        }
    }
}

/// Takes one change over. A list is complete before any of it counts; one that is too long does not
/// count at all.
fn apply(change: DefinitionChange, catalogue: &Catalogue, listed: &mut Option<Definitions>) {
    let outcome = match change {
        DefinitionChange::ListBegins => {
            *listed = Some(Definitions::default());
            Ok(())
        }
        DefinitionChange::Listed(definition) => {
            let put = listed.as_mut().map_or(Ok(()), |held| held.put(definition));
            put.inspect_err(|_| *listed = None)
        }
        DefinitionChange::ListEnds => {
            match listed.take() {
                Some(held) => catalogue.replace(held),
                None => catalogue.forget(),
            }
            if let Some(count) = catalogue.len() {
                log::info!("{count} definitions are known");
            }
            Ok(())
        }
        DefinitionChange::Put(definition) => catalogue.put(definition),
        DefinitionChange::Removed(namespace, name) => {
            catalogue.remove(&namespace, &name);
            Ok(())
        }
    };
    if let Err(error) = outcome {
        log::warn!("{error}");
    }
}
