//! `ingressPolicy`: from where packets reach the containers of a bridge. Its rules are about the
//! bridge, in chains that all bridges share, and stay.

use cni::error::{Code, Error};
use cni::quoted::Quoted;
use cni::result::AttachmentResult;
use linux::family::Family;

use super::iptables::{FORWARD, Plan, TABLE};
use crate::rules::iptables::{IpTables, Rule};
use crate::rules::program::{ProgramError, Programs};

const STAGE_1: &str = "CNI-ISOLATION-STAGE-1";
const STAGE_2: &str = "CNI-ISOLATION-STAGE-2";
const ABOUT_SHARED: &str = "CNI firewall plugin rules (ingressPolicy: same-bridge|isolated)";
const ABOUT_SAME_BRIDGE: &str = "CNI firewall plugin rules (ingressPolicy: same-bridge)";
const ABOUT_ISOLATED: &str = "CNI firewall plugin rules (ingressPolicy: isolated)";

/// From where packets reach the containers of a bridge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ingress {
    /// From everywhere.
    Open,
    /// From the same bridge, and not from another.
    SameBridge,
    /// From no bridge.
    Isolated,
}

impl Ingress {
    pub(super) fn read(text: Option<&str>) -> Result<Self, Error> {
        match text {
            None | Some("open") => Ok(Self::Open),
            Some("same-bridge") => Ok(Self::SameBridge),
            Some("isolated") => Ok(Self::Isolated),
            Some(other) => {
                let problem = format!(
                    "\"ingressPolicy\" must be \"open\", \"same-bridge\" or \"isolated\", not {}",
                    Quoted::text(other)
                );
                Err(Error::new(Code::CONFIG, problem))
            }
        }
    }
}

/// The bridge of the policy: the first interface of the result. None if all may come in.
pub(super) fn bridge(ingress: Ingress, result: &AttachmentResult) -> Result<Option<String>, Error> {
    if ingress == Ingress::Open {
        return Ok(None);
    }
    let name = result.interfaces.first().map(|interface| interface.name.as_str());
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        let problem = "\"ingressPolicy\" needs an interface in \"prevResult\": put the plugin \
                       behind \"bridge\"";
        return Err(Error::new(Code::CONFIG, problem));
    };
    // iptables takes "+" at the end for any name that begins so.
    let is_fit = name.len() <= 15
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"'\\".contains(&byte))
        && !name.starts_with(['-', '!'])
        && !name.ends_with('+');
    if is_fit {
        return Ok(Some(name.to_owned()));
    }
    let problem = format!(
        "\"ingressPolicy\" cannot be kept for a bridge of the name {}: iptables does not take it",
        Quoted::text(name)
    );
    Err(Error::new(Code::CONFIG, problem))
}

/// Makes the rules for a bridge.
pub(super) fn add(
    programs: &Programs<'_>,
    ingress: Ingress,
    bridge: &str,
    families: &[Family],
) -> Result<(), ProgramError> {
    for family in families {
        let tables = IpTables::new(programs, *family);
        tables.transact(TABLE, |tables| plan(tables, ingress, bridge))?;
    }
    Ok(())
}

fn plan(tables: IpTables<'_>, ingress: Ingress, bridge: &str) -> Result<Vec<String>, ProgramError> {
    let about = match ingress {
        Ingress::Isolated => ABOUT_ISOLATED,
        Ingress::Open | Ingress::SameBridge => ABOUT_SAME_BRIDGE,
    };
    let rule = |chain: &str, matched: &[&str], about: &str, target: &str| {
        let commented = ["-m", "comment", "--comment", about, "-j", target];
        Rule::new(chain, matched.iter().copied().chain(commented))
    };
    let from_bridge = ["-i", bridge, "!", "-o", bridge];
    let within_bridge = ["-i", bridge, "-o", bridge];
    let mut plan = Plan::new(tables);
    plan.ensure_chain(STAGE_1)?;
    plan.ensure_chain(STAGE_2)?;
    plan.ensure_first(&rule(FORWARD, &[], ABOUT_SHARED, STAGE_1))?;
    plan.ensure_first(&rule(STAGE_1, &from_bridge, about, STAGE_2))?;
    if ingress == Ingress::Isolated {
        plan.ensure_first(&rule(STAGE_1, &within_bridge, about, "DROP"))?;
    }
    plan.ensure_last(&rule(STAGE_1, &[], ABOUT_SHARED, "RETURN"))?;
    plan.ensure_first(&rule(STAGE_2, &["-o", bridge], ABOUT_SHARED, "DROP"))?;
    plan.ensure_last(&rule(STAGE_2, &[], ABOUT_SHARED, "RETURN"))?;
    Ok(plan.lines)
}
