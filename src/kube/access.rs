//! What a connection to the API server needs: its address, the trust in its certificate, and our
//! credential. From a kubeconfig, or from the files that Kubernetes puts into every pod.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use http::Uri;
use kube::config::{AuthInfo, Cluster, ExecAuthCluster};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::credential::{Credential, Proof};
use super::error::ClusterError;
use super::shared::Identity;
use super::tls::{self, Trust};
use super::{exec, file, kubeconfig};
use cni::error::one_line;
use cni::request::Environment;

/// Where the server's address and the credential are configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Kubeconfig {
        path: PathBuf,
        /// The server's URL in place of that of the file.
        server: Option<String>,
    },
    InCluster {
        server: String,
        directory: PathBuf,
    },
}

impl Source {
    /// What Kubernetes provides in the containers of a pod: two variables, and a directory with a
    /// token and the certificate authority.
    pub(super) fn in_cluster(environment: &Environment, directory: &Path) -> Option<Self> {
        let server = in_cluster_server(environment)?;
        let files_are_there = ["token", "ca.crt"].iter().all(|name| directory.join(name).exists());
        files_are_there.then(|| Self::InCluster { server, directory: directory.to_owned() })
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Kubeconfig { path, .. } => path,
            Self::InCluster { directory, .. } => directory,
        }
    }
}

/// The API server's URL, as Kubernetes tells it to the containers of every pod.
pub(crate) fn in_cluster_server(environment: &Environment) -> Option<String> {
    let variable = |name: &str| {
        environment.get(name).and_then(OsStr::to_str).filter(|value| !value.is_empty())
    };
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Some(format!("https://{host}:{port}"))
}

/// An API server's address.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// The start of every path, without a slash at its end: some servers are behind a prefix.
    pub(super) prefix: String,
}

impl Server {
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri =
            url.parse().map_err(|_| format!("server \"{}\" is not a URL", one_line(url, 200)))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        if uri.scheme_str() != Some("https") || host.is_empty() {
            return Err(format!(
                "server \"{}\" is not an https URL with a host",
                one_line(url, 200)
            ));
        }
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(443),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, .. } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}

/// All that a connection needs.
pub(super) struct Access {
    pub(super) server: Server,
    /// The name that the server's certificate must have.
    pub(super) name: ServerName<'static>,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) credential: Credential,
    /// What the server's certificate is verified against, for a message.
    pub(super) trust: String,
    /// The namespace of the kubeconfig's current context, if it has one.
    pub(super) namespace: Option<String>,
    /// What tells this server and credential from others.
    pub(super) identity: Identity,
}

impl Access {
    /// Reads the files, each within `limit`, and runs the exec plugin if there is one. No
    /// connection is made.
    pub(super) async fn open(
        source: &Source,
        variables: &exec::Variables,
        limit: Duration,
    ) -> Result<Self, ClusterError> {
        let draft = match source {
            Source::Kubeconfig { path, server } => {
                Draft::from_kubeconfig(path, server.as_deref(), variables, limit).await
            }
            Source::InCluster { server, directory } => Draft::in_cluster(server, directory),
        };
        let access = match draft {
            Ok(draft) => draft.finish(source.path(), limit).await,
            Err(problem) => Err(problem),
        };
        access
            .map_err(|problem| ClusterError::Kubeconfig { path: source.path().to_owned(), problem })
    }
}

/// The configuration as it was read, not yet validated.
struct Draft {
    server: String,
    server_name: Option<String>,
    insecure: bool,
    authority: Authority,
    identity: AuthInfo,
    proof: Proof,
    namespace: Option<String>,
}

/// The certificate authority of the server.
enum Authority {
    System,
    Data(Vec<u8>),
    File(PathBuf),
}

impl Draft {
    fn in_cluster(server: &str, directory: &Path) -> Result<Self, String> {
        Ok(Self {
            server: server.to_owned(),
            server_name: None,
            insecure: false,
            authority: Authority::File(directory.join("ca.crt")),
            identity: AuthInfo::default(),
            proof: Proof::token_file(directory.join("token"), None),
            namespace: None,
        })
    }

    async fn from_kubeconfig(
        path: &Path,
        server: Option<&str>,
        variables: &exec::Variables,
        limit: Duration,
    ) -> Result<Self, String> {
        let (mut cluster, mut identity, namespace) =
            kubeconfig::current_context(kubeconfig::read(path, limit).await?)?;
        cluster.server = server.map(str::to_owned).or(cluster.server);
        let proof = proof(&cluster, &mut identity, variables, limit).await?;
        kubeconfig::inline_certificate(&mut identity, limit).await?;
        Ok(Self {
            server: cluster.server.clone().ok_or("its cluster has no \"server\"")?,
            server_name: cluster.tls_server_name.clone().filter(|name| !name.is_empty()),
            insecure: cluster.insecure_skip_tls_verify == Some(true),
            authority: authority(&cluster)?,
            identity,
            proof,
            namespace,
        })
    }

    async fn finish(self, source: &Path, limit: Duration) -> Result<Access, String> {
        let server = Server::parse(&self.server)?;
        let name = self.server_name.as_deref().unwrap_or(&server.host);
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| format!("\"{}\" is not a server's name", one_line(name, 200)))?;
        let (authorities, trust) = self.authority.read(source, limit).await?;
        let identity = self.identity(&authorities);
        let authorities = if self.insecure { Trust::Anything } else { authorities };
        if self.insecure {
            log::warn!(
                "the certificate of the API server at {server} is not checked \
                 (insecure-skip-tls-verify)"
            );
        }
        let tls = Arc::new(tls::client_config(authorities, &self.identity)?);
        let credential = Credential { proof: self.proof, source: source.to_owned() };
        let namespace = self.namespace;
        Ok(Access { server, name, tls, credential, trust, namespace, identity })
    }

    /// All that decides where a request goes, and as which user.
    fn identity(&self, authorities: &Trust) -> Identity {
        let roots = match authorities {
            Trust::Authorities(roots) => {
                Some(roots.iter().flat_map(|root| root.to_vec()).collect::<Vec<u8>>())
            }
            Trust::System | Trust::Anything => None,
        };
        let mut identity = Identity::new();
        identity.push(Some(self.server.as_bytes()));
        identity.push(self.server_name.as_ref().map(String::as_bytes));
        identity.push(Some(&[u8::from(self.insecure)]));
        identity.push(roots.as_deref());
        identity.push(self.identity.client_certificate_data.as_ref().map(String::as_bytes));
        let key = self.identity.client_key_data.as_ref();
        identity.push(key.map(|key| secrecy::ExposeSecret::expose_secret(key).as_bytes()));
        self.proof.identify(&mut identity);
        identity
    }
}

/// The credential. A certificate that an exec plugin printed is put into `identity`.
async fn proof(
    cluster: &Cluster,
    identity: &mut AuthInfo,
    variables: &exec::Variables,
    limit: Duration,
) -> Result<Proof, String> {
    reject_unsupported_keys(cluster, identity)?;
    let token = identity
        .token
        .take()
        .filter(|token| !secrecy::ExposeSecret::expose_secret(token).is_empty());
    if let Some(path) = identity.token_file.take().filter(|path| !path.is_empty()) {
        return Ok(Proof::token_file(path.into(), token));
    }
    if let Some(token) = token {
        return Ok(Proof::Token(token));
    }
    if let Some(issued) = issued_proof(cluster, identity, variables, limit).await? {
        return Ok(issued);
    }
    if let (Some(user), Some(password)) = (identity.username.take(), identity.password.take()) {
        return Ok(Proof::Password { user, password });
    }
    let file =
        identity.client_certificate.as_ref().filter(|_| identity.client_certificate_data.is_none());
    let has_certificate = identity.client_certificate_data.is_some() || file.is_some();
    Ok(if has_certificate { Proof::Certificate(file.map(PathBuf::from)) } else { Proof::Nothing })
}

/// What an exec plugin issues: a token, or nothing here if it is a certificate, which is put into
/// `identity`.
async fn issued_proof(
    cluster: &Cluster,
    identity: &mut AuthInfo,
    variables: &exec::Variables,
    limit: Duration,
) -> Result<Option<Proof>, String> {
    let Some(mut exec) = identity.exec.take() else { return Ok(None) };
    if exec.provide_cluster_info {
        let described = ExecAuthCluster::try_from(cluster).map_err(|error| error.to_string())?;
        exec.cluster = Some(described);
    }
    let issued = exec::run(&exec, variables, limit).await?;
    if let (Some(certificate), Some(key)) = (issued.client_certificate_data, issued.client_key_data)
    {
        identity.client_certificate_data = Some(STANDARD.encode(certificate));
        identity.client_key_data = Some(STANDARD.encode(key).into());
    }
    let Some(token) = issued.token else { return Ok(None) };
    let command = one_line(exec.command.as_deref().unwrap_or_default(), 200);
    let expires = issued.expiration_timestamp.as_deref().map(DateTime::parse_from_rfc3339);
    let expires = expires.and_then(Result::ok).map(|end| end.to_utc());
    Ok(Some(Proof::Exec { command, token: token.into(), expires }))
}

/// Rejects keys that change the user or the route: a call that ignored them would be a different
/// one.
fn reject_unsupported_keys(cluster: &Cluster, identity: &AuthInfo) -> Result<(), String> {
    if cluster.proxy_url.as_ref().is_some_and(|proxy| !proxy.is_empty()) {
        return Err("\"proxy-url\" is not supported".to_owned());
    }
    if identity.impersonate.is_some() || identity.impersonate_groups.is_some() {
        return Err("impersonation (\"as\", \"as-groups\") is not supported".to_owned());
    }
    if identity.auth_provider.is_some() {
        return Err(
            "\"auth-provider\" is not supported, as in Kubernetes since 1.26; use \"exec\""
                .to_owned(),
        );
    }
    Ok(())
}

fn authority(cluster: &Cluster) -> Result<Authority, String> {
    if let Some(data) = cluster.certificate_authority_data.as_ref().filter(|data| !data.is_empty())
    {
        let pem =
            STANDARD.decode(data.trim()).map_err(|_| "certificate-authority-data is not base64")?;
        return Ok(Authority::Data(pem));
    }
    let file = cluster.certificate_authority.as_ref().filter(|path| !path.is_empty());
    Ok(file.map_or(Authority::System, |path| Authority::File(path.into())))
}

impl Authority {
    /// The certificates, and how to name them.
    async fn read(&self, source: &Path, limit: Duration) -> Result<(Trust, String), String> {
        match self {
            Self::System => {
                Ok((Trust::System, "the certificate authorities of this node".to_owned()))
            }
            Self::Data(pem) => {
                let name = format!("certificate-authority-data in {}", source.display());
                Ok((Trust::Authorities(certificates(pem, "certificate-authority-data")?), name))
            }
            Self::File(path) => {
                let name = format!("the certificate authority {}", path.display());
                let read = file::read(path, file::MAX_BYTES, limit).await;
                let pem = read.map_err(|error| format!("cannot read {name}: {error}"))?;
                Ok((Trust::Authorities(certificates(&pem, &name)?), name))
            }
        }
    }
}

fn certificates(pem: &[u8], name: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(format!("{name} holds no certificate in PEM")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_https_urls() {
        let shown = |url| Server::parse(url).map(|server| format!("{server} {}", server.prefix));
        assert_eq!(shown("https://10.0.0.1:6443").unwrap(), "10.0.0.1:6443 ");
        assert_eq!(shown("https://[fd00::1]").unwrap(), "[fd00::1]:443 ");
        assert_eq!(
            shown("https://rancher/k8s/clusters/c-1/").unwrap(),
            "rancher:443 /k8s/clusters/c-1"
        );
        for url in
            ["http://127.0.0.1:8080", "127.0.0.1:6443", "", "https://", "ftp://x", "https://a b"]
        {
            assert!(shown(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_in_cluster_files_and_variables_belong_together() {
        let dir = tempfile::tempdir().unwrap();
        let environment = Environment::from([
            ("KUBERNETES_SERVICE_HOST", "fd00::1"),
            ("KUBERNETES_SERVICE_PORT", "443"),
        ]);
        assert_eq!(Source::in_cluster(&environment, dir.path()), None);
        std::fs::write(dir.path().join("token"), "t").unwrap();
        std::fs::write(dir.path().join("ca.crt"), "c").unwrap();
        assert_eq!(Source::in_cluster(&Environment::default(), dir.path()), None);
        assert_eq!(
            Source::in_cluster(&environment, dir.path()),
            Some(Source::InCluster {
                server: "https://[fd00::1]:443".to_owned(),
                directory: dir.path().to_owned()
            })
        );
    }
}
