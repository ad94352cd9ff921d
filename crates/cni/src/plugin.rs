//! A plugin as a trait: what it is called with, what it may reach, and what it answers.
//!
//! [`answer`] carries one call out and has no I/O of its own; [`serve`] is the life of an
//! executable around it. A network's chain calls plugins through the same trait without a process.

mod call;
mod serve;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::Value;

use crate::deadline::Deadline;
use crate::error::{Code, Error};
use crate::netconf::PluginType;
use crate::request::Command;
use crate::result::AttachmentResult;
use crate::version::Version;

pub use self::call::{Attachment, Call, ValidAttachment};
pub use self::serve::{
    Answer, MAX_INPUT_BYTES, answer, carry_out, read_input, serve, version_of, versions,
};

/// A plugin (CNI 1.1.0, section 2): one method for each operation.
///
/// All are synchronous. What [`Plugin::add`] has changed before it fails, it has undone;
/// [`Plugin::del`] can be repeated, and needs neither the namespace nor an earlier result to
/// release what the plugin holds.
pub trait Plugin: Sync {
    /// The oldest version whose requests the plugin understands.
    fn oldest_version(&self) -> Version {
        Version::V0_1_0
    }

    /// ADD: connects the container, and returns what was made.
    ///
    /// # Errors
    /// [`Error`], after everything was undone.
    fn add(&self, call: &Call, context: &mut Context<'_>) -> Result<AttachmentResult, Error>;

    /// DEL: releases all that ADD has made and that is still there.
    ///
    /// # Errors
    /// [`Error`] if something may be left; the runtime repeats the call.
    fn del(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error>;

    /// CHECK: whether the container is connected as `prevResult` says.
    ///
    /// # Errors
    /// [`Error`] for the first difference.
    fn check(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error>;

    /// STATUS: whether ADD could succeed.
    ///
    /// # Errors
    /// [`Error`] with code 50 or 51 and what is missing.
    fn status(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let _ = (call, context);
        Ok(())
    }

    /// GC: releases what the plugin holds for attachments that are not in
    /// [`Call::valid_attachments`].
    ///
    /// # Errors
    /// [`Error`] if something could not be released.
    fn gc(&self, call: &Call, context: &mut Context<'_>) -> Result<(), Error> {
        let _ = (call, context);
        Ok(())
    }
}

/// What a call may reach beside its configuration.
pub struct Context<'a> {
    /// The door to other plugins: IPAM, most of all.
    pub delegate: &'a mut dyn Delegate,
    /// When the call must have ended.
    pub deadline: Deadline,
    /// Whether the call is to end early. Looked at between steps: what was done by then is undone.
    pub stop: &'a dyn Stop,
}

impl Context<'static> {
    /// The context of a plugin that calls no other one, for a call of at most `limit`.
    pub fn within(limit: Duration) -> Self {
        // A value without a size: nothing is allocated, and nothing leaks.
        let delegate = Box::leak(Box::new(NoDelegates));
        Self { delegate, deadline: Deadline::after(limit), stop: &NeverStop }
    }
}

impl Context<'_> {
    /// Fails once the call is to end: between two steps of ADD, never while something is undone.
    ///
    /// # Errors
    /// Code 11.
    pub fn proceed(&self) -> Result<(), Error> {
        if self.stop.requested() {
            return Err(Error::new(Code::TRY_AGAIN, "the call was asked to stop"));
        }
        if self.deadline.remaining().is_zero() {
            return Err(Error::new(Code::TRY_AGAIN, "the time of the call is over"));
        }
        Ok(())
    }
}

/// Whether a call is to end early.
pub trait Stop: Sync {
    /// Whether it was asked to by now.
    fn requested(&self) -> bool;
}

/// Nothing asks the call to end early.
#[derive(Clone, Copy, Debug)]
pub struct NeverStop;

impl Stop for NeverStop {
    fn requested(&self) -> bool {
        false
    }
}

/// Plugin delegation (CNI 1.1.0, section 4): runs another plugin with the environment and the
/// configuration of the call.
pub trait Delegate {
    /// Runs `command` of `plugin` for `call`; a result comes back from ADD alone.
    ///
    /// # Errors
    /// The plugin's own [`Error`], or why it could not be run.
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Command,
        call: &Call,
        deadline: Deadline,
    ) -> Result<Option<Value>, Error>;
}

/// Delegates to no plugin: for plugins that do not delegate.
#[derive(Clone, Copy, Debug)]
pub struct NoDelegates;

impl Delegate for NoDelegates {
    fn delegate(
        &mut self,
        plugin: &PluginType,
        command: Command,
        _: &Call,
        _: Deadline,
    ) -> Result<Option<Value>, Error> {
        let problem = format!(
            "plugin \"{plugin}\" cannot be called for {command}: nothing is delegated here"
        );
        Err(Error::new(Code::CONFIG, problem))
    }
}
