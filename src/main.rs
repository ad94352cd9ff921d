//! The executable: a plugin where a runtime starts it, a tool where a person does. The only
//! place, with `bin/braid-cluster.rs`, that writes to stdout and that exits.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::process::ExitCode;

use braid::{Answer, BuiltIn, Console, OutputStyle};
use cni::error::{Code, Error};
use cni::request::{Environment, Request, RequestError};
use cni::version::Version;
use linux::signal::Signals;
use serde_json::Value;

/// The largest configuration that is read from standard input.
const MAX_INPUT_BYTES: u64 = 16 << 20;

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

/// What the executable is: Braid, or a plugin that is built in.
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
    let input = match read_input() {
        Ok(input) => input,
        Err(error) => {
            let problem = format!("cannot read the configuration on standard input: {error}");
            return fail(Error::new(Code::IO, problem));
        }
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
            log::error!("nobody takes the result: {error}");
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

fn read_input() -> io::Result<Vec<u8>> {
    let mut input = Vec::new();
    io::stdin().lock().take(MAX_INPUT_BYTES + 1).read_to_end(&mut input)?;
    if input.len() as u64 > MAX_INPUT_BYTES {
        Err(io::Error::other("it is larger than 16 MiB"))
    } else {
        Ok(input)
    }
}

/// Says an error that came before the request's version was known.
fn fail(error: Error) -> ExitCode {
    let answer = Answer { version: Version::NEWEST, outcome: Err(error) };
    print(&answer).unwrap_or(ExitCode::FAILURE)
}

fn print(answer: &Answer) -> io::Result<ExitCode> {
    let (value, code) = match &answer.outcome {
        Ok(value) => (value.clone(), ExitCode::SUCCESS),
        Err(error) => {
            log::error!("{error}");
            (Some(error.to_value(answer.version)), ExitCode::FAILURE)
        }
    };
    value.map_or(Ok(()), |value| write_line(&value)).map(|()| code)
}

fn write_line(value: &Value) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{value}")?;
    stdout.flush()
}

fn operate() -> ExitCode {
    let (mut out, mut error) = (io::stdout().lock(), io::stderr().lock());
    let mut console = Console::new(&mut out, &mut error, OutputStyle::of_process());
    ExitCode::from(braid::operate(std::env::args_os(), &mut console).status())
}
