//! The executable: a plugin where a runtime starts it, a tool where a person does. The only
//! place, with `bin/braid-cluster.rs`, that writes to stdout and that exits.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use braid::{Answer, BuiltIn, Console, OutputStyle};
use cni::error::{Code, Error};
use cni::plugin::read_input;
use cni::request::{Environment, Request, RequestError};
use linux::signal::Signals;

/// musl's allocator asks the kernel for nearly every page by itself: a tenth of a call's time.
#[cfg(target_env = "musl")]
#[global_allocator]
static GLOBAL: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    let environment = Environment::of_process();
    match BuiltIn::started_as(std::env::args_os().next().as_deref()) {
        Some(built_in) => match built_in.read_request(environment) {
            None => introduce(&built_in),
            Some(request) => run(&built_in, request),
        },
        None => match Request::read(environment) {
            None => operate(),
            Some(request) => run(&Meta, request),
        },
    }
}

/// What the executable is: Braid, or a plugin that is built in. Braid is no
/// [`cni::plugin::Plugin`]: its DEL and GC work with configurations that have become invalid, which
/// no plugin is called with.
trait Program {
    fn answer(&self, request: &Request, input: &[u8], signals: &mut Signals) -> Answer;

    /// Takes back an ADD whose result could not be delivered.
    fn withdraw(&self, request: &Request, input: &[u8], signals: &mut Signals);
}

/// Braid itself.
struct Meta;

impl Program for Meta {
    fn answer(&self, request: &Request, input: &[u8], signals: &mut Signals) -> Answer {
        braid::answer(request, input, signals)
    }

    fn withdraw(&self, request: &Request, input: &[u8], signals: &mut Signals) {
        braid::withdraw(request, input, signals);
    }
}

impl Program for BuiltIn {
    fn answer(&self, request: &Request, input: &[u8], signals: &mut Signals) -> Answer {
        Self::answer(self, request, input, signals)
    }

    fn withdraw(&self, request: &Request, input: &[u8], signals: &mut Signals) {
        Self::withdraw(self, request, input, signals);
    }
}

fn run(program: &impl Program, request: Result<Request, RequestError>) -> ExitCode {
    match request {
        Ok(request) => serve(program, &request),
        // It quotes what it was given, which must not read as the success of a DEL.
        Err(error) => fail(Error::from(error).for_del()),
    }
}

fn serve(program: &impl Program, request: &Request) -> ExitCode {
    // Until the input is there nothing has been done, and a signal may end the process as usual.
    let input = match read_input(request) {
        Ok(input) => input,
        Err(error) => return fail(error),
    };
    let mut signals = match Signals::block() {
        Ok(signals) => signals,
        Err(errno) => {
            return fail(Error::new(Code::IO, format!("cannot receive signals: {errno}")));
        }
    };
    let answer = program.answer(request, &input, &mut signals);
    print(&answer).unwrap_or_else(|error| {
        // The runtime has gone away: it will not see this result, so the call has failed.
        if answer.outcome.is_ok() {
            log::error!("the runtime does not read the result: {error}");
            program.withdraw(request, &input, &mut signals);
        }
        ExitCode::FAILURE
    })
}

/// Says what the executable is to a person, who has started it under a plugin's name.
fn introduce(built_in: &BuiltIn) -> ExitCode {
    let written = writeln!(io::stderr().lock(), "{built_in}");
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Says an error that came before the request's version was known.
fn fail(error: Error) -> ExitCode {
    print(&Answer::unread(error)).unwrap_or(ExitCode::FAILURE)
}

fn print(answer: &Answer) -> io::Result<ExitCode> {
    if let Err(error) = &answer.outcome {
        log::error!("{error}");
    }
    answer.print(&mut io::stdout().lock())
}

fn operate() -> ExitCode {
    let (mut out, mut error) = (io::stdout().lock(), io::stderr().lock());
    let mut console = Console::new(&mut out, &mut error, OutputStyle::of_process());
    ExitCode::from(braid::operate(std::env::args_os(), &mut console).status())
}
