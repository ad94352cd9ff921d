//! What an ADD would ask of the API, for a person who looks at a plan.

use cni::deadline::Deadline;
use cni::error::{Code, Error};
use cni::plugin::Call;

use super::config::Config;
use super::name;
use super::place::{no_kubeconfig, store_error};
use super::store::StoreError;
use super::stores;

/// A sentence for each pool of which an ADD takes an address. Nothing is taken.
///
/// # Errors
/// What ADD would say: of the configuration, the kubeconfig, the credential or a right.
pub fn foresee(call: &Call, deadline: Deadline) -> Result<Vec<String>, Error> {
    let config = Config::read(call)?;
    if config.access.kubeconfig.is_none() {
        return Err(no_kubeconfig());
    }
    let mut opened = stores()?.open(&config.access, deadline).map_err(store_error)?;
    let namespace = opened.namespace.clone();
    let mut sentences = pools(&config, &namespace);
    match opened.store.may_allocate(&namespace, deadline) {
        Ok(true) => {}
        Ok(false) => return Err(Error::new(Code::CONFIG, no_right(&namespace))),
        Err(error @ StoreError::Refused(_)) => return Err(store_error(error)),
        Err(error) => sentences
            .iter_mut()
            .for_each(|it| it.push_str(&format!(" (whether it may is not known: {error})"))),
    }
    Ok(sentences)
}

fn pools(config: &Config, namespace: &str) -> Vec<String> {
    if let Some(slices) = &config.slices {
        let node = &config.node;
        return vec![format!(
            "GET node slice pool \"{namespace}/{slices}\", GET and PATCH the address pool of node \"{node}\""
        )];
    }
    let of = |range| {
        let pool = name::pool(super::Range::subnet(range), config.network.as_deref(), None);
        format!("GET and PATCH address pool \"{namespace}/{pool}\", range {range}")
    };
    config.ranges.iter().map(of).collect()
}

/// The problem of a credential without the right to take addresses.
pub(super) fn no_right(namespace: &str) -> String {
    format!(
        "there is no right to patch ippools.whereabouts.cni.cncf.io in namespace \"{namespace}\": apply \
         conf/kubernetes/optional/rbac-addresses.yaml"
    )
}
