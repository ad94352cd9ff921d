//! What is left to do for people when a node has changed hands.

use std::path::{Path, PathBuf};

use super::{Found, Migrate};
use crate::multus::cache::{self, MULTUS_STATE_DIR};
use crate::operator::installation::Installation;
use crate::operator::runtime::{Kind, Runtime, below};
use cni::keys;

/// How the annotations are found that Braid reads otherwise.
const FIND_BEFOREHAND: &str = "braid refuses some annotations that multus passes over: find them \
                               before pods start anew, with kubectl get pods -A -o yaml | braid \
                               validate - (on any machine; it changes nothing), and correct them, \
                               or set \"lenientAnnotations\": true";

impl Migrate {
    pub(super) fn note_what_follows(
        &self,
        runtime: &Runtime,
        found: &Found,
        notes: &mut Vec<String>,
    ) {
        let cache = self.multus_state(found.theirs.first());
        let count = cache::count(&cache);
        if count > 0 {
            let cache = self.on_node(&cache);
            notes.push(format!(
                "{count} containers are remembered in {}: braid tears them down by what multus \
                 wrote there",
                cache.display()
            ));
        }
        if runtime.kind == Some(Kind::Crio) {
            notes.push(
                "CRI-O tears a pod down with the configuration that it was started with: leave \
                 multus's plugin, and the thick plugin's daemon, until the pods of before are gone"
                    .to_owned(),
            );
        }
        if let Some(file) = found.renamed.first() {
            notes.push(format!(
                "cilium has renamed {}: see that its cni.exclusive is false, or it does so with \
                 braid's file",
                self.on_node(file).display()
            ));
        }
        notes.extend(self.whereabouts(runtime));
        notes.push(FIND_BEFOREHAND.to_owned());
        notes.push(
            "stop multus's DaemonSet when all this is done: it writes its file again".to_owned(),
        );
    }

    /// What becomes of whereabouts, if it gives addresses on the node.
    fn whereabouts(&self, runtime: &Runtime) -> Option<String> {
        let place = below(&self.root, &runtime.conf_dir).join("whereabouts.d");
        place.is_dir().then(|| {
            format!(
                "whereabouts gives addresses here ({}): definitions stay as they are, and braid \
                 gives addresses from the same pools once its executable stands for that plugin \
                 (braid install --plugins); leave whereabouts' DaemonSet, which renews the \
                 kubeconfig, until another one is named, and then let braid addresses reconcile \
                 take the place of its reconciler",
                self.on_node(&place).display()
            )
        })
    }

    /// Where Multus remembers its pods, below our root.
    pub(super) fn multus_state(&self, multus: Option<&Installation>) -> PathBuf {
        let named = multus.and_then(|multus| keys::get_text(&multus.request, "cniDir"));
        let named = named.filter(|path| path.starts_with('/')).unwrap_or(MULTUS_STATE_DIR);
        below(&self.root, Path::new(named))
    }
}
