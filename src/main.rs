//! The executable: a plugin where a runtime starts it, a page of help where a person does. The only
//! place that writes to stdout and that exits.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use braid::cni::error::{Code, Error};
use braid::cni::request::{Environment, Request};
use braid::cni::version::Version;
use braid::signal::Signals;
use braid::verb::{self, Answer};
use serde_json::Value;

/// The largest configuration that is read from standard input.
const MAX_INPUT_BYTES: u64 = 16 << 20;

fn main() -> ExitCode {
    match Request::read(Environment::of_process()) {
        None => help(),
        Some(Ok(request)) => serve(&request),
        // It quotes what it was given, which must not read as the success of a DEL.
        Some(Err(error)) => fail(Error::from(error).for_del()),
    }
}

fn serve(request: &Request) -> ExitCode {
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
        Err(errno) => return fail(Error::new(Code::IO, format!("cannot receive signals: {errno}"))),
    };
    let answer = verb::answer(request, &input, &mut signals);
    print(&answer).unwrap_or_else(|error| {
        // The runtime has gone away: it will not see this result, so the call has failed.
        if answer.outcome.is_ok() {
            log::error!("nobody takes the result: {error}");
            verb::withdraw(request, &input, &mut signals);
        }
        ExitCode::FAILURE
    })
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

fn help() -> ExitCode {
    let command = clap::Command::new("braid")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A CNI meta-plugin: gives a pod its primary network and every extra network it asks for")
        .long_about(include_str!("help/about.txt"))
        .after_long_help(include_str!("help/example.txt"))
        .arg_required_else_help(false);
    match command.clone().try_get_matches() {
        Ok(_) => {
            let shown = command.clone().print_long_help();
            if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let _ = error.print();
            u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    }
}
