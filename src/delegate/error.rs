//! How a call of a plugin fails, and what of its output is quoted.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::advice;
use cni::error::{Code, Error, one_line};
use cni::netconf::PluginType;

/// How a call of a plugin failed.
#[derive(Debug, thiserror::Error)]
pub enum DelegateError {
    /// No directory of the plugin path has the executable.
    #[error(
        "plugin \"{plugin}\" is not installed: no executable of that name in {}",
        searched(path)
    )]
    NotInstalled {
        /// The plugin.
        plugin: PluginType,
        /// Where it was looked for.
        path: Vec<PathBuf>,
    },
    /// What the plugin's type resolves to is Braid, and no plugin that Braid has built in.
    #[error(
        "plugin \"{plugin}\" is braid itself ({}): a network that braid delegates to cannot have \
         braid in its chain; take it out there",
        file.display()
    )]
    IsBraid {
        /// The plugin.
        plugin: PluginType,
        /// What its type resolves to.
        file: PathBuf,
    },
    /// The executable could not be started.
    #[error("plugin \"{plugin}\" cannot be started: {source}")]
    Start {
        /// The plugin.
        plugin: PluginType,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The plugin was started, and the system does not let us serve it.
    #[error("plugin \"{plugin}\" was started and then killed, because {attempt}: {source}")]
    Serve {
        /// The plugin.
        plugin: PluginType,
        /// What failed, in words.
        attempt: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The plugin did not end in time and was killed.
    #[error("plugin \"{plugin}\" did not end within {limit} s and was killed{quote}")]
    TimedOut {
        /// The plugin.
        plugin: PluginType,
        /// The limit, in seconds.
        limit: u64,
        /// What it said last.
        quote: Quote,
    },
    /// The call's time was over before the plugin's turn came.
    #[error(
        "plugin \"{plugin}\" was not started: the time of the whole call was over before its turn"
    )]
    NoTime {
        /// The plugin.
        plugin: PluginType,
    },
    /// The runtime asked Braid to stop.
    #[error("braid was asked to stop before plugin \"{plugin}\" had ended")]
    Stopped {
        /// The plugin.
        plugin: PluginType,
    },
    /// The plugin says that it failed.
    #[error("plugin \"{plugin}\": {msg}{}", advice::behind(msg))]
    Failed {
        /// The plugin.
        plugin: PluginType,
        /// Its own code.
        code: u64,
        /// Its own sentence.
        msg: String,
        /// Its own details.
        details: String,
    },
    /// The plugin failed without saying so as the protocol has it.
    #[error("plugin \"{plugin}\" {end} without an error in the protocol's form{quote}")]
    Ended {
        /// The plugin.
        plugin: PluginType,
        /// How it ended.
        end: String,
        /// The first line that it wrote to standard error, or else to standard output.
        quote: Quote,
    },
    /// The plugin succeeded with output that is none.
    #[error("plugin \"{plugin}\" {problem}{quote}")]
    Output {
        /// The plugin.
        plugin: PluginType,
        /// What is wrong with the output.
        problem: &'static str,
        /// The first line that it wrote to standard error, or the line of its output that is wrong.
        quote: Quote,
    },
}

impl DelegateError {
    /// The plugin that failed.
    pub fn plugin(&self) -> &PluginType {
        match self {
            Self::NotInstalled { plugin, .. }
            | Self::IsBraid { plugin, .. }
            | Self::Start { plugin, .. }
            | Self::Serve { plugin, .. }
            | Self::TimedOut { plugin, .. }
            | Self::NoTime { plugin }
            | Self::Stopped { plugin }
            | Self::Failed { plugin, .. }
            | Self::Ended { plugin, .. }
            | Self::Output { plugin, .. } => plugin,
        }
    }

    /// Whether the plugin may have run.
    pub fn was_started(&self) -> bool {
        !matches!(
            self,
            Self::NotInstalled { .. }
                | Self::IsBraid { .. }
                | Self::Start { .. }
                | Self::NoTime { .. }
        )
    }

    /// The error as the protocol has it; the plugin's own code and details are kept.
    pub fn to_protocol(&self) -> Error {
        let code = match self {
            Self::Failed { code, .. } => Code(*code),
            Self::NotInstalled { .. } | Self::IsBraid { .. } => Code::CONFIG,
            Self::Start { .. } | Self::Serve { .. } => Code::IO,
            Self::TimedOut { .. } | Self::NoTime { .. } | Self::Stopped { .. } => Code::TRY_AGAIN,
            Self::Ended { .. } | Self::Output { .. } => Code::DELEGATE,
        };
        let error = Error::new(code, self);
        match self {
            Self::Failed { details, .. } if !details.is_empty() => error.with_details(details),
            _ => error,
        }
    }
}

fn searched(path: &[PathBuf]) -> String {
    let dirs: Vec<_> = path.iter().map(|dir| dir.display().to_string()).collect();
    if dirs.is_empty() {
        "CNI_PATH, which is empty: set it or binDir".to_owned()
    } else {
        dirs.join(", ")
    }
}

/// A line of a plugin's output, quoted in an error; empty if the plugin was silent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Quote(String);

impl Quote {
    pub(super) fn first_line(outputs: &[&[u8]]) -> Self {
        let lines = outputs.iter().filter_map(|output| {
            let text = String::from_utf8_lossy(output.get(..4096).unwrap_or(output)).into_owned();
            text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        });
        Self(lines.map(|line| one_line(&line, 300)).next().unwrap_or_default())
    }

    /// The line of this number, counted from 1, or the last one before it that is not blank: an
    /// output that ends early ends there.
    pub(super) fn line(output: &[u8], number: usize) -> Self {
        let lines: Vec<&[u8]> = output.split(|byte| *byte == b'\n').take(number).collect();
        let line = lines.into_iter().rev().find(|line| !line.trim_ascii().is_empty());
        Self::first_line(&[line.unwrap_or_default()])
    }
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": \"{}\"", self.0) }
    }
}
