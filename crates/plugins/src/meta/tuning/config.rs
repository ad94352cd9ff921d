//! The configuration of tuning: its own keys, and those of `args.cni`, which count more.

use std::path::{Path, PathBuf};

use cni::error::{Code, Error};
use cni::keys;
use cni::plugin::Call;
use cni::quoted::Quoted;
use linux::netlink::{Change, LinkId, LinkSettings, LinkState};
use linux::sysctl::Sysctl;
use serde_json::{Map, Value};

use crate::link::config::{Keys, read_mac, read_text, wrong_type};

/// Where the settings of interfaces are saved.
const DIRECTORY: &str = "/run/cni/tuning";

/// Most sysctls of a network.
const MAX_SYSCTLS: usize = 256;

/// Longest name and value of a sysctl, in bytes: the kernel reads a page.
const MAX_TEXT: usize = 4096;

/// What a network asks for.
#[derive(Debug)]
pub(super) struct TuningConfig<'c> {
    /// In the order of the configuration.
    pub(super) sysctls: Vec<Setting<'c>>,
    /// Of the interface.
    pub(super) settings: Settings,
    /// Where its earlier settings are saved.
    pub(super) directory: PathBuf,
}

/// A sysctl and its value.
#[derive(Debug)]
pub(super) struct Setting<'c> {
    /// The key as it is written.
    pub(super) key: &'c str,
    pub(super) sysctl: Sysctl,
    pub(super) value: &'c str,
}

/// Settings of an interface; those that are `None` stay as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Settings {
    pub(super) mac: Option<Vec<u8>>,
    pub(super) promiscuous: Option<bool>,
    pub(super) mtu: Option<u32>,
    pub(super) all_multicast: Option<bool>,
    pub(super) tx_queue_len: Option<u32>,
}

/// The directory of saved settings.
pub(super) fn directory(call: &Call) -> Result<PathBuf, Error> {
    let text = Keys::inside(call.object()).text("dataDir")?.unwrap_or(DIRECTORY);
    let path = Path::new(text);
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let problem = format!("\"dataDir\" must be an absolute path, not {}", Quoted::text(text));
    Err(Error::new(Code::CONFIG, problem))
}

impl<'c> TuningConfig<'c> {
    pub(super) fn read(call: &'c Call) -> Result<Self, Error> {
        let own = Keys::of(call, &super::FACTS);
        let args = args(call)?;
        let mut sysctls = Vec::new();
        let interface =
            call.sandbox.as_ref().map_or("IFNAME", |sandbox| sandbox.interface.as_str());
        for object in [own.value("sysctl"), args.and_then(|args| keys::get(args, "sysctl"))] {
            read_sysctls(object, interface, &mut sysctls)?;
        }
        if let Some(args) = args {
            let args = Keys::inside(args);
            read_settings(|_| args).map_err(|error| error.about("args.cni"))?;
        }
        let mut settings =
            read_settings(|key| match args.filter(|args| keys::get(args, key).is_some()) {
                Some(args) => Keys::inside(args),
                None => own,
            })?;
        settings.mac = read_hardware_address(call)?;
        Ok(Self { sysctls, settings, directory: directory(call)? })
    }
}

fn args(call: &Call) -> Result<Option<&Map<String, Value>>, Error> {
    let Some(args) = keys::get(call.object(), "args") else { return Ok(None) };
    let args = args.as_object().ok_or_else(|| wrong_type("args", "an object", args))?;
    let Some(cni) = keys::get(args, "cni") else { return Ok(None) };
    cni.as_object().map(Some).ok_or_else(|| wrong_type("args.cni", "an object", cni))
}

/// Reads each key from the place that `source` names. The key `mac` is read by
/// [`read_hardware_address`].
fn read_settings<'k>(source: impl Fn(&str) -> Keys<'k>) -> Result<Settings, Error> {
    let all_multicast = source("allmulti");
    let all_multicast = match all_multicast.value("allmulti") {
        None => None,
        Some(_) => Some(all_multicast.switch("allmulti")?),
    };
    let length = source("txQLen").number("txQLen", i32::MAX.unsigned_abs().into())?;
    Ok(Settings {
        mac: None,
        promiscuous: Some(source("promisc").switch("promisc")?).filter(|on| *on),
        mtu: source("mtu").size("mtu")?,
        all_multicast,
        tx_queue_len: length.and_then(|length| u32::try_from(length).ok()),
    })
}

/// `args.cni.mac` before `runtimeConfig.mac` before `CNI_ARGS` before the key.
fn read_hardware_address(call: &Call) -> Result<Option<Vec<u8>>, Error> {
    let args = read_text(call.cni_arg("mac"), "args.cni.mac")?;
    let runtime = read_text(call.runtime_config("mac"), "runtimeConfig.mac")?;
    let variable = call.arg("MAC").map(|text| ("MAC of CNI_ARGS", text));
    let key = read_text(keys::get(call.object(), "mac"), "mac")?;
    let chosen = args.or(runtime).or(variable).or(key);
    chosen.map(|(source, text)| read_mac(source, text)).transpose()
}

/// A later value of a key counts more.
fn read_sysctls<'c>(
    object: Option<&'c Value>,
    interface: &str,
    sysctls: &mut Vec<Setting<'c>>,
) -> Result<(), Error> {
    let Some(value) = object else { return Ok(()) };
    let object = value.as_object().ok_or_else(|| wrong_type("sysctl", "an object", value))?;
    for (key, value) in object.iter().filter(|(_, value)| !value.is_null()) {
        let text = value.as_str().filter(|text| is_value(text));
        let text = text.ok_or_else(|| {
            let expected = "a text of one line, such as \"1\"";
            wrong_type(&format!("sysctl.{}", Quoted::text(key)), expected, value)
        })?;
        let sysctl = read_key(key, interface)?;
        sysctls.retain(|other| other.sysctl != sysctl);
        sysctls.push(Setting { key, sysctl, value: text });
    }
    if sysctls.len() <= MAX_SYSCTLS {
        return Ok(());
    }
    let problem = format!("\"sysctl\" has more than {MAX_SYSCTLS} entries");
    Err(Error::new(Code::CONFIG, problem))
}

fn is_value(text: &str) -> bool {
    text.len() < MAX_TEXT && !text.contains(|c: char| c.is_control() && c != '\t')
}

/// The setting of a key, in which dots separate, and `IFNAME` stands for the interface.
fn read_key(key: &str, interface: &str) -> Result<Sysctl, Error> {
    let path = key.replace('.', "/").replacen("IFNAME", interface, 1);
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    let is_below_net = parts.next() == Some("net") && parts.next().is_some();
    let is_path = path.len() < MAX_TEXT
        && path.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.split('/').any(|part| matches!(part, "." | ".."));
    if is_below_net && is_path {
        return Ok(Sysctl::at(&path));
    }
    let problem = format!(
        "\"sysctl\" must have settings below \"net.\", such as \"net.core.somaxconn\", not {}",
        Quoted::text(key)
    );
    Err(Error::new(Code::CONFIG, problem))
}

impl Settings {
    /// What the link has of those that `wanted` names.
    pub(super) fn of(link: &LinkState, wanted: &Self) -> Result<Self, Error> {
        let mac = link.mac.as_deref().filter(|_| wanted.mac.is_some());
        Ok(Self {
            mac: mac.map(|mac| read_mac("mac", mac)).transpose()?,
            promiscuous: wanted.promiscuous.map(|_| link.promiscuous),
            mtu: wanted.mtu.map(|_| link.mtu),
            all_multicast: wanted.all_multicast.map(|_| link.all_multicast),
            tx_queue_len: wanted.tx_queue_len.map(|_| link.tx_queue_len),
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The hardware address as the kernel's tools write it.
    pub(super) fn mac_text(&self) -> Option<String> {
        let hex = |bytes: &Vec<u8>| {
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
        };
        self.mac.as_ref().map(hex)
    }

    /// Replaces what `other` says.
    pub(super) fn replace_by(&mut self, other: Self) {
        self.mac = other.mac.or(self.mac.take());
        self.promiscuous = other.promiscuous.or(self.promiscuous);
        self.mtu = other.mtu.or(self.mtu);
        self.all_multicast = other.all_multicast.or(self.all_multicast);
        self.tx_queue_len = other.tx_queue_len.or(self.tx_queue_len);
    }

    /// One change for each, so that none hinders the others.
    pub(super) fn changes(&self, link: u32) -> Vec<Change<'_>> {
        let nothing = LinkSettings::default();
        let mac = self.mac.as_deref();
        let each = [
            mac.map(|mac| LinkSettings { mac: Some(mac), ..nothing }),
            self.promiscuous.map(|on| LinkSettings { promiscuous: Some(on), ..nothing }),
            self.mtu.map(|mtu| LinkSettings { mtu: Some(mtu), ..nothing }),
            self.all_multicast.map(|on| LinkSettings { all_multicast: Some(on), ..nothing }),
            self.tx_queue_len.map(|length| LinkSettings { tx_queue_len: Some(length), ..nothing }),
        ];
        let change = |settings| Change::set_link(LinkId::Index(link), &settings);
        each.into_iter().flatten().map(change).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_leads_below_net_alone() {
        let table = [
            ("net.core.somaxconn", Some("net/core/somaxconn")),
            ("net/ipv4/conf/IFNAME/arp_notify", Some("net/ipv4/conf/eth0.5/arp_notify")),
            (".net..core.somaxconn", Some("net/core/somaxconn")),
            ("net/../kernel/hostname", Some("net/kernel/hostname")),
            ("kernel.hostname", None),
            ("net", None),
            ("net.", None),
            ("", None),
            ("../../etc/passwd", None),
            ("netx.core", None),
            ("net.co\nre", None),
            ("net.core.é", None),
        ];
        for (key, path) in table {
            let read = read_key(key, "eth0.5");
            assert_eq!(read.as_ref().ok(), path.map(Sysctl::at).as_ref(), "{key}");
        }
        assert!(read_key(&format!("net.{}", "x".repeat(5000)), "eth0").is_err());
    }
}
