//! `resolv.conf(5)`, as far as a result's DNS has room for it.

use std::path::Path;

use cni::error::{Code, Error};
use linux::file::read_regular;

use crate::ipam::result::Dns;

/// The most that is read of the file.
const MAX_BYTES: u64 = 256 << 10;

/// The DNS of the file at `path`.
///
/// # Errors
/// Code 5 if the file cannot be read.
pub(crate) fn read(path: &Path) -> Result<Dns, Error> {
    let bytes = read_regular(path, MAX_BYTES).map_err(|error| {
        let problem =
            format!("cannot read {}, the file of \"ipam.resolvConf\": {error}", path.display());
        Error::new(Code::IO, problem)
    })?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

/// The DNS of a text: a later `domain` replaces an earlier one, everything else adds up.
pub(crate) fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(keyword), Some(first)) = (words.next(), words.next()) else { continue };
        match keyword.as_str() {
            "nameserver" => dns.nameservers.push(first),
            "domain" => dns.domain = first,
            "search" => dns.search.extend([first].into_iter().chain(words)),
            "options" => dns.options.extend([first].into_iter().chain(words)),
            _ => {}
        }
    }
    dns
}
