//! What a plugin prints, whatever that is.

use braid::internals::delegate::{self, DelegateError};
use cni::keys;
use cni::netconf::PluginType;
use serde_json::Value;

use super::assert_told_well;

/// A plugin that fails is never taken for one that succeeds, nor the other way round, and an error
/// of its own is told in one line. The input is its standard output, and after a zero byte its
/// standard error.
pub fn delegate(bytes: &[u8]) {
    let plugin: PluginType = "bridge".parse().unwrap();
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    let (stdout, stderr) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let says = |status| delegate::decode(&plugin, status, stdout.to_vec(), stderr.to_vec());
    match says(0) {
        Ok(value) => {
            let object = value.as_object().unwrap();
            assert!(
                keys::get(object, "code").and_then(Value::as_u64).is_none(),
                "an error for a result: {value}"
            );
            super::result::check_value(&value);
        }
        Err(error) => check_error(&error),
    }
    check_error(&says(1).unwrap_err());
}

fn check_error(error: &DelegateError) {
    assert_told_well(error);
    let protocol = error.to_protocol();
    assert_ne!(protocol.code.0, 0, "{error}");
    assert!(protocol.msg.contains("plugin \"bridge\""), "{protocol}");
    assert_told_well(&protocol);
}
