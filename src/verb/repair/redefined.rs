//! A record with the definitions as they are now: `braid repair` and `braid keep` try these once
//! the recorded ones keep failing, since an owner may have corrected what a plugin refuses.

use std::collections::BTreeMap;

use crate::definition::{Api, NodeDefinitions, OnOutage};
use crate::ledger::{Record, State};
use crate::pod::Pod;
use crate::prepare;
use crate::verb::Session;
use cni::error::Error;
use cni::netconf::NetworkConfig;
use cni::result::AttachmentResult;

/// A record with other definitions than it was made with.
pub(super) struct Redefined {
    /// The record, its key and its names as they were.
    pub(super) record: Record,
    /// The positions of the networks that have changed.
    pub(super) positions: Vec<usize>,
    /// Why the definitions of others are not tried.
    pub(super) refusals: Vec<Error>,
}

impl Redefined {
    /// The record with each network of a definition that the policy admits the pod to now.
    pub(super) fn of(session: &mut Session<'_>, record: &Record) -> Self {
        // What proves that nothing is left of a refused ADD are the plugins that refused it.
        let record = Record { refusals: BTreeMap::new(), ..record.clone() };
        let mut redefined = Self { record, positions: Vec::new(), refusals: Vec::new() };
        let pod = match Pod::from_args(&redefined.record.plan.args) {
            Ok(pod) => pod,
            Err(error) => {
                redefined.refusals.push(error.into());
                return redefined;
            }
        };
        let node = NodeDefinitions::read(&session.config.conf_dirs);
        let api = session.cluster.as_mut().map_or(Api::Absent, Api::Asked);
        let mut definitions = prepare::finder(session.config, node, api, OnOutage::Refuse);
        let remaining: Vec<_> =
            redefined.record.remaining().map(|(at, it, _)| (at, it.clone())).collect();
        for (at, attachment) in remaining {
            match prepare::network_now(session.config, &pod, &attachment, &mut definitions) {
                Ok(Some(network)) => redefined.replace(at, network),
                Ok(None) => {}
                Err(error) => redefined.refusals.push(error),
            }
        }
        redefined
    }

    /// Gives the attachment at a position another network, and its result in that one's version:
    /// plugins refuse every other.
    fn replace(&mut self, at: usize, network: NetworkConfig) {
        let Some(attachment) = self.record.plan.attachments.get_mut(at) else { return };
        if let Some(State::Attached(result)) = self.record.states.get_mut(at) {
            let read = AttachmentResult::read_lenient(result, attachment.network.version);
            if let Ok(read) = read {
                *result = read.write(network.version);
            }
        }
        attachment.network = network;
        self.positions.push(at);
    }

    /// Why teardown has failed, with what came of the definitions as they are now.
    pub(super) fn explain(&self, error: Error, tried: Option<&Error>) -> Error {
        let tried = tried.map(|tried| format!("with its definition as it is now: {tried}"));
        let refused = self
            .refusals
            .iter()
            .map(|refusal| format!("its definition as it is now is not tried: {refusal}"));
        let more: Vec<String> = tried.into_iter().chain(refused).collect();
        if more.is_empty() {
            return error;
        }
        let msg = format!("{}; {}", error.msg, more.join("; "));
        Error { details: error.details, ..Error::new(error.code, msg) }
    }
}
