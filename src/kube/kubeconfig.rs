//! A kubeconfig: its files, and the cluster and user of its current context.

use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Kubeconfig, NamedContext};

use super::file;
use crate::yaml;
use cni::error::one_line;

/// The kubeconfig, whose files are named from its own directory.
pub(super) async fn read(path: &Path, limit: Duration) -> Result<Kubeconfig, String> {
    let read = file::read(path, file::MAX_BYTES, limit).await;
    let bytes = read.map_err(|error| format!("cannot read it: {error}"))?;
    let text = String::from_utf8(bytes).map_err(|_| "is not text in UTF-8".to_owned())?;
    let mut config = parse(&text)?;
    if let Some(directory) = path.parent() {
        make_absolute(&mut config, directory);
    }
    Ok(config)
}

/// A kubeconfig from its text. Several documents are one, as client-go merges files.
///
/// # Errors
/// A part of a sentence. What is wrong is not quoted: a line of a kubeconfig can be a token.
pub(crate) fn parse(text: &str) -> Result<Kubeconfig, String> {
    let place = |error: &serde_saphyr::Error| {
        yaml::place(error).map_or_else(String::new, |(line, _)| format!(": see line {line}"))
    };
    let documents = yaml::documents(text, serde_saphyr::Options::default())
        .map_err(|error| format!("is not a kubeconfig{}", place(&error)))?;
    let filled = documents.into_iter().filter(|document| !document.is_null());
    filled.map(serde_json::from_value).try_fold(Kubeconfig::default(), |merged, next| {
        let next = next.map_err(|_| "is not a kubeconfig: a key has a value of another type")?;
        merged.merge(next).map_err(|error| one_line(&error.to_string(), 300))
    })
}

/// As client-go does: a program without a slash is looked up in `PATH`.
fn make_absolute(config: &mut Kubeconfig, directory: &Path) {
    let join = |file: &mut Option<String>| {
        let joined =
            file.as_deref().filter(|file| !file.is_empty()).map(|file| directory.join(file));
        *file = joined.and_then(|path| path.to_str().map(str::to_owned));
    };
    for cluster in config.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        join(&mut cluster.certificate_authority);
    }
    for identity in config.auth_infos.iter_mut().filter_map(|named| named.auth_info.as_mut()) {
        join(&mut identity.client_certificate);
        join(&mut identity.client_key);
        join(&mut identity.token_file);
        let exec = identity.exec.as_mut().map(|exec| &mut exec.command);
        exec.filter(|command| command.as_deref().is_some_and(|command| command.contains('/')))
            .map(join);
    }
}

/// Puts a client certificate and its key that are in files into the identity: kube would read the
/// files without a limit, and wait for a FIFO.
pub(super) async fn inline_certificate(
    identity: &mut AuthInfo,
    limit: Duration,
) -> Result<(), String> {
    async fn data(
        what: &str,
        path: Option<String>,
        limit: Duration,
    ) -> Result<Option<String>, String> {
        let Some(path) = path else { return Ok(None) };
        let read = file::read(Path::new(&path), file::MAX_BYTES, limit).await;
        let bytes = read.map_err(|error| format!("cannot read the {what} {path}: {error}"))?;
        Ok(Some(STANDARD.encode(bytes)))
    }
    let certificate = identity.client_certificate.take();
    if identity.client_certificate_data.is_none() {
        identity.client_certificate_data = data("client certificate", certificate, limit).await?;
    }
    let key = identity.client_key.take();
    if identity.client_key_data.is_none() {
        identity.client_key_data = data("client key", key, limit).await?.map(Into::into);
    }
    Ok(())
}

/// The cluster, the user and the namespace of the current context.
pub(super) fn current_context(
    config: Kubeconfig,
) -> Result<(Cluster, AuthInfo, Option<String>), String> {
    let wanted = config
        .current_context
        .filter(|name| !name.is_empty())
        .ok_or("has no \"current-context\"")?;
    let is_wanted = |context: &NamedContext| context.name == wanted;
    let context = config
        .contexts
        .into_iter()
        .find(is_wanted)
        .and_then(|context| context.context)
        .ok_or_else(|| {
        format!("has no context \"{}\", its current-context", one_line(&wanted, 100))
    })?;
    let cluster = config
        .clusters
        .into_iter()
        .find(|cluster| cluster.name == context.cluster)
        .and_then(|cluster| cluster.cluster)
        .ok_or_else(|| format!("has no cluster \"{}\"", one_line(&context.cluster, 100)))?;
    let user = context.user.unwrap_or_default();
    let identity = config.auth_infos.into_iter().find(|identity| identity.name == user);
    if identity.is_none() && !user.is_empty() {
        return Err(format!("has no user \"{}\"", one_line(&user, 100)));
    }
    let namespace = context.namespace.filter(|namespace| !namespace.is_empty());
    let identity = identity.and_then(|identity| identity.auth_info).unwrap_or_default();
    Ok((cluster, identity, namespace))
}
