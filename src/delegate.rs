//! The only door to a plugin: finds its executable, runs it, decodes what it says.
//!
//! A plugin is trusted to change the network, not to behave: it may hang, flood, print garbage,
//! leave a child behind or vanish. Each call ends within its limit, with the whole process group
//! gone where it did not end by itself. Which plugin runs, and with which request, is decided
//! elsewhere.

mod advice;

use linux::child;
pub(crate) use linux::child::die_with_us;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use cni::deadline::Deadline;
use cni::error::{Code, Error, one_line};
use cni::keys;
use cni::name::InterfaceName;
use cni::netconf::PluginType;
use cni::request::{CniArgs, Command, ContainerId, DEPTH_VARIABLE, Environment};
use linux::signal::Signals;

/// The attachment that a plugin is called for (CNI 1.1.0, section 2, "Parameters").
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// `CNI_CONTAINERID`.
    pub container: &'a ContainerId,
    /// `CNI_NETNS`; empty on DEL where the namespace is gone.
    pub netns: &'a str,
    /// `CNI_IFNAME`.
    pub interface: &'a InterfaceName,
    /// `CNI_ARGS`.
    pub args: &'a CniArgs,
}

/// One call of one plugin.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// The verb.
    pub command: Command,
    /// The plugin.
    pub plugin: &'a PluginType,
    /// The network whose chain it is in, as people know it.
    pub network: &'a str,
    /// The attachment; STATUS and GC have none.
    pub target: Option<Target<'a>>,
    /// The request that goes to standard input.
    pub request: Value,
}

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
        !matches!(self, Self::NotInstalled { .. } | Self::Start { .. } | Self::NoTime { .. })
    }

    /// The error as the protocol has it; the plugin's own code and details are kept.
    pub fn to_protocol(&self) -> Error {
        let code = match self {
            Self::Failed { code, .. } => Code(*code),
            Self::NotInstalled { .. } => Code::CONFIG,
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
    fn first_line(outputs: &[&[u8]]) -> Self {
        let lines = outputs.iter().filter_map(|output| {
            let text = String::from_utf8_lossy(output.get(..4096).unwrap_or(output)).into_owned();
            text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
        });
        Self(lines.map(|line| one_line(&line, 300)).next().unwrap_or_default())
    }

    /// The line of this number, counted from 1, or the last one before it that is not blank: an
    /// output that ends early ends there.
    fn line(output: &[u8], number: usize) -> Self {
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

/// How long one call of a plugin took, and what it came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Timing {
    /// The network, as people know it.
    pub network: String,
    /// The interface; STATUS and GC have none.
    pub interface: Option<InterfaceName>,
    /// The plugin.
    pub plugin: PluginType,
    /// The verb.
    pub command: Command,
    /// From its start to the end of its output.
    pub took: Duration,
    /// The code of its error.
    pub code: Option<Code>,
}

/// The most timings that are kept: GC of a whole node can call many plugins.
const MAX_TIMINGS: usize = 512;

/// Waits until no process is left of the plugins that a killed call for `container` has started,
/// and kills those that do not end. The lock of the container must be held, so that no other call
/// is at work.
pub(crate) fn reap_orphaned_plugins(container: &ContainerId) {
    child::reap_orphaned_processes(&[
        format!("{DEPTH_VARIABLE}=1"),
        format!("CNI_CONTAINERID={container}"),
    ]);
}

/// Runs plugins.
#[derive(Debug)]
pub(crate) struct Delegates<'a> {
    path: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    limit: Duration,
    signals: &'a mut Signals,
    timings: Option<Vec<Timing>>,
}

impl<'a> Delegates<'a> {
    /// Plugins found in `path`, each call ending within `limit`. Of our own environment they get
    /// `PATH` and the variables named in `pass`, nothing else.
    pub(crate) fn new(
        path: Vec<PathBuf>,
        ours: &Environment,
        pass: &[String],
        limit: Duration,
        signals: &'a mut Signals,
    ) -> Self {
        Self {
            environment: base_environment(&path, ours, pass),
            path,
            limit,
            signals,
            timings: None,
        }
    }

    /// From now on, remembers how long each call takes.
    pub(crate) fn keep_timings(&mut self) {
        self.timings = Some(Vec::new());
    }

    /// The calls since [`Delegates::keep_timings`], in their order; the first `MAX_TIMINGS` of
    /// them.
    pub(crate) fn timings(&self) -> &[Timing] {
        self.timings.as_deref().unwrap_or_default()
    }

    /// The signals that a wait must notice.
    pub(crate) fn signals(&mut self) -> &mut Signals {
        self.signals
    }

    /// The executable of a plugin.
    ///
    /// # Errors
    /// [`DelegateError::NotInstalled`], naming the directories.
    pub(crate) fn find(&self, plugin: &PluginType) -> Result<PathBuf, DelegateError> {
        find(plugin, &self.path)
    }

    /// Runs a plugin that answers with a result (ADD).
    ///
    /// # Errors
    /// [`DelegateError`]; what the plugin changed before it failed is for the caller to undo.
    pub(crate) fn run_for_result(
        &mut self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<Value, DelegateError> {
        self.timed(call, |delegates| {
            let output = delegates.run(call, deadline)?;
            decode_result(call.plugin, &output)
        })
    }

    /// Runs a plugin that need not answer (DEL, CHECK, STATUS, GC). What it prints on success is
    /// ignored, unless it is an error.
    ///
    /// # Errors
    /// [`DelegateError`].
    pub(crate) fn run_for_effect(
        &mut self,
        call: &Call<'_>,
        deadline: Deadline,
    ) -> Result<(), DelegateError> {
        self.timed(call, |delegates| {
            let output = delegates.run(call, deadline)?;
            let printed = serde_json::from_slice(&output.stdout).ok();
            printed.and_then(|value| reported_error(call.plugin, &value)).map_or(Ok(()), Err)
        })
    }

    fn timed<T>(
        &mut self,
        call: &Call<'_>,
        run: impl FnOnce(&mut Self) -> Result<T, DelegateError>,
    ) -> Result<T, DelegateError> {
        let started = Instant::now();
        let outcome = run(self);
        let took = started.elapsed();
        let interface = call.target.map(|target| target.interface);
        let shown = interface.map_or("", InterfaceName::as_str);
        log::debug!(
            "{} {} {shown} took {:.1} ms",
            call.plugin,
            call.command,
            took.as_secs_f64() * 1e3
        );
        if let Some(timings) = self.timings.as_mut().filter(|timings| timings.len() < MAX_TIMINGS) {
            timings.push(Timing {
                network: call.network.to_owned(),
                interface: interface.cloned(),
                plugin: call.plugin.clone(),
                command: call.command,
                took,
                code: outcome.as_ref().err().map(|error| error.to_protocol().code),
            });
        }
        outcome
    }

    fn run(&mut self, call: &Call<'_>, deadline: Deadline) -> Result<child::Output, DelegateError> {
        let executable = self.find(call.plugin)?;
        let limit = deadline.within(self.limit);
        // Rounded up, since a moment of it has passed already.
        let seconds = limit.remaining().saturating_add(Duration::from_millis(999)).as_secs();
        // Started now, it would be killed at once, at an arbitrary point.
        if self.signals.stop_requested() {
            return Err(DelegateError::Stopped { plugin: call.plugin.clone() });
        }
        if limit.remaining().is_zero() {
            return Err(DelegateError::NoTime { plugin: call.plugin.clone() });
        }
        let input = call.request.to_string();
        let environment = self.environment_of(call);
        let output =
            child::run(&executable, &environment, input.as_bytes(), limit.instant(), self.signals);
        judge(call.plugin, seconds, output)
    }

    fn environment_of(&self, call: &Call<'_>) -> Vec<(OsString, OsString)> {
        let mut environment = self.environment.clone();
        let mut set = |name: &str, value: &str| environment.push((name.into(), value.into()));
        set("CNI_COMMAND", call.command.as_str());
        if let Some(target) = call.target {
            set("CNI_CONTAINERID", target.container.as_str());
            set("CNI_NETNS", target.netns);
            set("CNI_IFNAME", target.interface.as_str());
            set("CNI_ARGS", target.args.as_str());
        }
        environment
    }
}

/// The executable of a plugin in the directories of `path`: a regular file that may be executed.
///
/// # Errors
/// [`DelegateError::NotInstalled`], naming the directories.
pub(crate) fn find(plugin: &PluginType, path: &[PathBuf]) -> Result<PathBuf, DelegateError> {
    path.iter()
        .map(|dir| dir.join(plugin.as_str()))
        .find(|file| is_executable(file))
        .ok_or_else(|| DelegateError::NotInstalled { plugin: plugin.clone(), path: path.to_vec() })
}

fn is_executable(file: &Path) -> bool {
    file.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn base_environment(
    path: &[PathBuf],
    ours: &Environment,
    pass: &[String],
) -> Vec<(OsString, OsString)> {
    let reserved =
        |name: &str| name.starts_with("CNI_") || name == DEPTH_VARIABLE || name == "PATH";
    let passed = pass
        .iter()
        .filter(|name| !reserved(name))
        .filter_map(|name| Some((name.into(), ours.get(name)?.to_owned())));
    let mut environment: Vec<(OsString, OsString)> = passed.collect();
    environment.sort();
    environment.dedup_by(|a, b| a.0 == b.0);
    let search =
        ours.get("PATH").map_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into(), ToOwned::to_owned);
    environment.push(("PATH".into(), search));
    environment.push((DEPTH_VARIABLE.into(), "1".into()));
    // A directory with a colon in its name cannot be listed; it stays out rather than split in two.
    let listable = path.iter().filter(|dir| std::env::join_paths([dir]).is_ok());
    environment.push(("CNI_PATH".into(), std::env::join_paths(listable).unwrap_or_default()));
    environment
}

fn judge(
    plugin: &PluginType,
    limit: u64,
    outcome: Result<child::Output, child::Failure>,
) -> Result<child::Output, DelegateError> {
    let plugin = plugin.clone();
    let output = match outcome {
        Ok(output) => output,
        Err(child::Failure::Start(source)) => return Err(DelegateError::Start { plugin, source }),
        Err(child::Failure::Serve { attempt, source }) => {
            return Err(DelegateError::Serve { plugin, attempt, source });
        }
        Err(child::Failure::Stopped) => return Err(DelegateError::Stopped { plugin }),
        Err(child::Failure::TimedOut { stderr }) => {
            return Err(DelegateError::TimedOut {
                plugin,
                limit,
                quote: Quote::first_line(&[&stderr]),
            });
        }
        Err(child::Failure::Flood { stderr }) => {
            let problem = "printed more than 1 MiB and was killed";
            return Err(DelegateError::Output {
                plugin,
                problem,
                quote: Quote::first_line(&[&stderr]),
            });
        }
    };
    if output.ended.is_success() {
        return Ok(output);
    }
    let value = serde_json::from_slice(&output.stdout).ok();
    Err(value.and_then(|value| reported_error(&plugin, &value)).unwrap_or_else(|| {
        DelegateError::Ended {
            plugin,
            end: output.ended.to_string(),
            quote: Quote::first_line(&[&output.stderr, &output.stdout]),
        }
    }))
}

/// What a plugin that exited with `status` says: its result, or the error that it reports.
///
/// # Errors
/// [`DelegateError::Failed`], [`DelegateError::Ended`], [`DelegateError::Output`].
pub fn decode(
    plugin: &PluginType,
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
) -> Result<Value, DelegateError> {
    let ended = child::Ended::Exited(status);
    let output = judge(plugin, 0, Ok(child::Output { ended, stdout, stderr }))?;
    decode_result(plugin, &output)
}

fn decode_result(plugin: &PluginType, output: &child::Output) -> Result<Value, DelegateError> {
    let failed_with =
        |problem, quote| DelegateError::Output { plugin: plugin.clone(), problem, quote };
    let failed = |problem| failed_with(problem, Quote::first_line(&[&output.stderr]));
    if output.stdout.trim_ascii().is_empty() {
        return Err(failed("printed no result"));
    }
    let value: Value = serde_json::from_slice(&output.stdout).map_err(|error| {
        let problem =
            "printed a result that is not valid JSON, and standard output takes nothing else";
        failed_with(problem, Quote::line(&output.stdout, error.line()))
    })?;
    match reported_error(plugin, &value) {
        Some(error) => Err(error),
        None if value.is_object() => Ok(value),
        None => Err(failed("printed a result that is not a JSON object")),
    }
}

/// The error in a plugin's output, if it is one (CNI 1.1.0, section 5, "Error").
fn reported_error(plugin: &PluginType, value: &Value) -> Option<DelegateError> {
    let object = value.as_object()?;
    let text =
        |key: &str| keys::get(object, key).and_then(Value::as_str).map(|text| one_line(text, 800));
    // A failure must not read as success, whatever its code says: 0, -1, or more than 64 bits.
    let code = keys::get(object, "code")?.as_number()?.as_u64().filter(|code| *code != 0);
    Some(DelegateError::Failed {
        plugin: plugin.clone(),
        code: code.unwrap_or(Code::DELEGATE.0),
        msg: text("msg")
            .filter(|msg| !msg.is_empty())
            .unwrap_or_else(|| "failed without saying why".to_owned()),
        details: text("details").unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
