//! `ipMasq`, which is still to come: it is refused, never passed over in silence.

use cni::error::{Code, Error};
use cni::plugin::Call;

use super::config::Keys;

/// Refuses a network that asks for masquerading.
pub(crate) fn refuse(keys: Keys<'_>) -> Result<(), Error> {
    keys.text("ipMasqBackend")?;
    if keys.switch("ipMasq")? {
        let problem = "the built-in plugin does not masquerade yet: use the reference plugin for a network with \
                       \"ipMasq\"";
        return Err(Error::new(Code::UNSUPPORTED_FIELD, problem));
    }
    Ok(())
}

/// The rules of an attachment that another plugin has made stay.
pub(crate) fn warn_of_rules(keys: Keys<'_>, call: &Call) {
    if matches!(keys.switch("ipMasq"), Ok(true)) {
        let network = call.network.as_str();
        log::warn!(
            "network {network}: masquerading rules that another plugin has made are left in place"
        );
    }
}
