//! The VLANs that a tenant's plugins put an interface on.

use serde_json::{Map, Value};

use super::{Fence, FenceError, Plugin};
use crate::policy::rules::Vlans;
use cni::quoted::Quoted;
use plugins::facts::VlanDefault;

impl Fence<'_> {
    /// A VLAN, or 0 for none. To the vlan plugin 0 is one: its frames are those of the master's
    /// native VLAN.
    pub(super) fn check_vlan(
        &self,
        plugin: Plugin<'_>,
        key: &str,
        value: &Value,
    ) -> Result<(), FenceError> {
        let id = value.as_u64().ok_or_else(|| plugin.wrong(key, value, "a number"))?;
        if id == 0 && !matches!(plugin.vlan_default(), VlanDefault::Zero(_)) {
            return Ok(());
        }
        self.check_vlans(plugin, key, value, (id, id))
    }

    /// The VLAN that a plugin puts an interface on beside those that it names: the vlan plugin
    /// takes a `vlanId` that is missing for 0, and a port of a bridge with a trunk keeps VLAN 1
    /// if no other is the native one.
    pub(super) fn check_native_vlan(
        &self,
        plugin: Plugin<'_>,
        object: &Map<String, Value>,
    ) -> Result<(), FenceError> {
        let get = |key: &str| object.get(key).filter(|value| !value.is_null());
        let names_vlan = get("vlan").is_some_and(|vlan| *vlan != 0);
        let has_trunk =
            get("vlanTrunk").and_then(Value::as_array).is_some_and(|trunk| !trunk.is_empty());
        let keeps_default = get("preserveDefaultVlan").is_some_and(|keep| *keep == true);
        match plugin.vlan_default() {
            VlanDefault::Zero(key) if get(key).is_none() => {
                self.check_vlan(plugin, key, &Value::from(0))
            }
            VlanDefault::NativeOfTrunk
                if (has_trunk || names_vlan) && (keeps_default || !names_vlan) =>
            {
                self.check_vlans(plugin, "preserveDefaultVlan", &Value::from(1), (1, 1))
            }
            _ => Ok(()),
        }
    }

    /// The bridge plugin's list of VLANs: `{"id": 5}`, `{"minID": 10, "maxID": 20}`.
    pub(super) fn check_trunk(
        &self,
        plugin: Plugin<'_>,
        key: &str,
        value: &Value,
    ) -> Result<(), FenceError> {
        const RULE: &str = "a list of objects with \"id\", or \"minID\" and \"maxID\"";
        let entries = value.as_array().ok_or_else(|| plugin.wrong(key, value, RULE))?;
        for entry in entries {
            self.check_value(plugin, key, entry)?;
            let members = entry.as_object().ok_or_else(|| plugin.wrong(key, entry, RULE))?;
            let member = |name: &str| members.get(name).map(|value| (value, value.as_u64()));
            let range = match (member("id"), member("minID"), member("maxID")) {
                (Some((_, Some(id))), None, None) => (id, id),
                (None, Some((_, Some(first))), Some((_, Some(last)))) => (first, last),
                _ => return Err(plugin.wrong(key, entry, RULE)),
            };
            self.check_vlans(plugin, key, entry, range)?;
        }
        Ok(())
    }

    fn check_vlans(
        &self,
        plugin: Plugin<'_>,
        key: &str,
        value: &Value,
        (first, last): (u64, u64),
    ) -> Result<(), FenceError> {
        if Vlans::new(first, last).is_some_and(|vlans| self.policy.allows_vlans(self.owner, vlans))
        {
            return Ok(());
        }
        let value = if value.is_object() {
            Quoted::text(&format!("{first}-{last}"))
        } else {
            Quoted::value(value)
        };
        let (plugin, key, namespace) = (plugin.quoted(), key.to_owned(), self.owner.clone());
        Err(FenceError::Vlan { plugin, key, value, namespace })
    }
}
