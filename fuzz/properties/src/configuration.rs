//! Braid's own configuration, as the runtime hands it over.

use std::path::Path;

use braid::internals::config::{Config, ConfigError};
use braid::internals::definition::{Annotations, Definition, DefinitionKind, Source};
use braid::internals::pod;
use braid::internals::pod::name::Namespace;
use braid::internals::policy::{self, Account, Case, View};
use braid::internals::selection::Selection;
use cni::deadline::Deadline;
use cni::netconf::{Missing, NetworkConfig};
use cni::result::AttachmentResult;
use serde_json::Value;

use super::assert_told_well;

/// A configuration has absolute paths, names that are none of a path, and limits that a clock can
/// hold; it is read the same from its own JSON; and no policy lets a tenant's network delegate.
pub fn configuration(bytes: &[u8]) {
    let config = match Config::parse(bytes) {
        Ok(config) => config,
        Err(error) => return assert_told_well(&error),
    };
    super::assert_file_name(config.network.as_str());
    check_paths(&config);
    for limit in [config.delegate_timeout, config.api_timeout, config.readiness.timeout] {
        let _ = Deadline::after(limit).share(3);
    }
    assert!(!config.delegate_timeout.is_zero() && !config.api_timeout.is_zero());
    config.warnings.iter().for_each(|warning| assert_told_well(warning));
    assert_eq!(config.is_delegating(), config.primary.is_some());
    if let Some(result) = &config.from_runtime.prev_result {
        let _ = AttachmentResult::read_lenient(result, config.version);
    }
    if let Ok(Some(asked)) =
        pod::Annotations::from_runtime_config(&config.from_runtime.runtime_config)
    {
        asked
            .networks
            .iter()
            .chain(&asked.default_network)
            .for_each(|text| super::annotation(text.as_bytes()));
    }
    check_policy(&config);
    let value: Value = serde_json::from_slice(bytes).unwrap();
    let again: Result<Config, ConfigError> = Config::parse(value.to_string().as_bytes());
    assert_eq!(format!("{:?}", again.unwrap()), format!("{config:?}"));
}

fn check_paths(config: &Config) {
    let required = [
        &config.primary_conf_dir,
        &config.state_dir,
        &config.kubelet_socket,
        &config.device_info_dir,
    ];
    let optional = [
        &config.bin_dir,
        &config.kubeconfig,
        &config.readiness.file,
        &config.log.file,
        &config.log.audit,
    ];
    let paths = required.into_iter().chain(optional.into_iter().flatten()).chain(&config.conf_dirs);
    for path in paths {
        assert!(path.is_absolute(), "{}", path.display());
    }
    let plugins = ["/opt/cni/bin".into(), "/usr/lib/cni".into()];
    assert!(config.plugin_path(&plugins).starts_with(&plugins));
}

/// A network of a tenant's that starts other plugins as it likes is refused under every enforced
/// policy.
fn check_policy(config: &Config) {
    let namespace: Namespace = "untrusted-namespace".parse().unwrap();
    let text =
        "{\"cniVersion\": \"1.0.0\", \"name\": \"untrusted-namespace.x\", \"type\": \"multus\"}";
    let definition = Definition {
        source: Source::File(Path::new("/x").into()),
        kind: DefinitionKind::Object,
        annotations: Annotations::new(),
        bytes: text.len(),
        network: NetworkConfig::parse(text, &Missing::default()).unwrap(),
    };
    let selection = Selection::new(namespace.clone(), "x".parse().unwrap(), 0);
    let view =
        View { tenancy: &config.tenancy, namespace: &namespace, path: policy::Path::Networks };
    let account = Account::Unknown(String::new());
    let case = Case {
        view,
        account: &account,
        selection: &selection,
        definition: &definition,
        host: Ok(&[]),
    };
    let verdict = policy::judge(&case);
    let must_refuse = match &config.tenancy.policy {
        Ok(None) => false,
        Ok(Some(rules)) => rules.is_enforced() && !rules.trusts(&namespace),
        Err(_) => true,
    };
    assert!(verdict.refusal.is_some() || !must_refuse, "allowed: {verdict:?}");
    verdict.refusal.iter().for_each(|refusal| assert_told_well(refusal));
}
