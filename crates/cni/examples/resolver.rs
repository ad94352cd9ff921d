//! A complete plugin: it adds name servers to the result of the plugin before it.
//!
//! `{"type": "resolver", "nameservers": ["10.96.0.10"]}` is the last entry of a conflist.

use std::{net::IpAddr, process::ExitCode, time::Duration};

use cni::error::{Code, Error};
use cni::plugin::{Call, Context, Plugin, serve};
use cni::result::AttachmentResult;
use serde_json::{Value, json};

#[derive(serde::Deserialize)]
struct Config {
    nameservers: Vec<IpAddr>,
}

struct Resolver;

impl Plugin for Resolver {
    fn add(&self, call: &Call, _: &mut Context<'_>) -> Result<AttachmentResult, Error> {
        let config: Config = call.config(&["nameservers"])?;
        let alone = || Error::new(Code::CONFIG, "put \"resolver\" behind another plugin");
        let mut result = call.prev_result()?.ok_or_else(alone)?;
        let dns = result.dns.get_or_insert_with(|| json!({})).as_object_mut();
        let servers = dns.map(|dns| dns.entry("nameservers").or_insert_with(|| json!([])));
        if let Some(Value::Array(servers)) = servers {
            servers.extend(config.nameservers.iter().map(|server| json!(server)));
        }
        Ok(result)
    }

    fn del(&self, _: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Ok(()) // It keeps nothing on the host or in the container.
    }

    fn check(&self, _: &Call, _: &mut Context<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn main() -> ExitCode {
    serve(&Resolver, &mut Context::within(Duration::from_secs(60)))
}
