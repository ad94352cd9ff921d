//! What a plugin's exit status and output say: its result, or its error (CNI 1.1.0, section 5).

use serde_json::Value;

use super::error::{DelegateError, Quote};
use cni::error::{Code, one_line};
use cni::keys;
use cni::netconf::PluginType;
use linux::child;

/// What a call that did not fail has left.
#[derive(Debug)]
pub(super) enum Said {
    /// What a process printed.
    Output(child::Output),
    /// What a plugin in the process returned.
    Value(Option<Value>),
}

impl Said {
    /// The result, which ADD must have.
    pub(super) fn into_result(self, plugin: &PluginType) -> Result<Value, DelegateError> {
        match self {
            Self::Output(output) => decode_result(plugin, &output),
            Self::Value(Some(value)) => Ok(value),
            Self::Value(None) => {
                let (plugin, problem) = (plugin.clone(), "returned no result");
                Err(DelegateError::Output { plugin, problem, quote: Quote::default() })
            }
        }
    }

    /// Whether the output is no error. Anything else that a plugin printed is ignored.
    pub(super) fn into_effect(self, plugin: &PluginType) -> Result<(), DelegateError> {
        match self {
            Self::Output(output) => {
                let printed = serde_json::from_slice(&output.stdout).ok();
                printed.and_then(|value| reported_error(plugin, &value)).map_or(Ok(()), Err)
            }
            Self::Value(_) => Ok(()),
        }
    }
}

pub(super) fn judge(
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
            let quote = Quote::first_line(&[&stderr]);
            return Err(DelegateError::Output { plugin, problem, quote });
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
pub(super) fn reported_error(plugin: &PluginType, value: &Value) -> Option<DelegateError> {
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
