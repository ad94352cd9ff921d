//! `braid schema`: JSON Schemas of what people write, made from what the program reads: the keys of
//! the configuration, and the facts of the built-in plugins. The descriptions are the pages'.

mod configuration;
mod network;
mod page;
mod plugin;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::CommandError;
use super::console::{Console, Exit, OutputStyle, View};

/// The dialect of all schemas.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";
/// The name of the one that is printed by default.
const NETWORK: &str = "network";

/// What `braid schema` is told.
#[derive(Args, Debug)]
pub(super) struct Schema {
    /// network, braid, settings, or a built-in plugin
    #[arg(value_name = "NAME", default_value = NETWORK)]
    name: String,
    /// Write all of them into this directory, each as NAME.json
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    directory: Option<PathBuf>,
}

/// Why there is no schema.
#[derive(Debug, thiserror::Error)]
pub(super) enum SchemaError {
    /// There is none of that name.
    #[error("there is no schema \"{name}\": choose one of {}", .known.join(", "))]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<&'static str>,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl Schema {
    pub(super) fn run(&self, console: &mut Console<'_>) -> Result<Exit, CommandError> {
        if let Some(directory) = &self.directory {
            return Ok(console.show(&write_all(directory)?)?);
        }
        let schema = of(&self.name).ok_or_else(|| SchemaError::Unknown {
            name: cni::error::one_line(&self.name, 64),
            known: names().collect(),
        })?;
        Ok(console.text(&pretty(&schema))?)
    }
}

/// The files that were written.
#[derive(Debug, Serialize)]
struct Files {
    files: Vec<PathBuf>,
}

impl View for Files {
    fn text(&self, _: &OutputStyle) -> String {
        self.files.iter().map(|file| format!("{}\n", file.display())).collect()
    }
}

fn write_all(directory: &Path) -> Result<Files, SchemaError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| SchemaError::Write { path, source }
    };
    std::fs::create_dir_all(directory).map_err(failed(directory))?;
    let mut files = Vec::new();
    for (name, schema) in names().filter_map(|name| Some((name, of(name)?))) {
        let file = directory.join(format!("{name}.json"));
        std::fs::write(&file, pretty(&schema)).map_err(failed(&file))?;
        files.push(file);
    }
    Ok(Files { files })
}

fn pretty(schema: &Value) -> String {
    format!("{schema:#}\n")
}

/// The names of all schemas.
fn names() -> impl Iterator<Item = &'static str> {
    [NETWORK, "braid", "settings"].into_iter().chain(plugins::names())
}

fn of(name: &str) -> Option<Value> {
    let mut schema = match name {
        NETWORK => network::any(),
        "braid" => configuration::entry(),
        "settings" => configuration::settings(),
        _ => network::with_plugin(plugins::names().find(|known| *known == name)?),
    };
    let object = schema.as_object_mut()?;
    object.shift_insert(0, "$schema".to_owned(), json!(DIALECT));
    Some(schema)
}

#[cfg(test)]
mod tests;
