use super::*;

fn run_shell(script: &str, max_output: usize, limit: Duration) -> Result<Output, Failure> {
    let arguments = ["-c", script].map(OsStr::new);
    let program = Program {
        executable: Path::new("/bin/sh"),
        arguments: &arguments,
        environment: &[("PATH".into(), "/usr/bin:/bin".into())],
        max_output,
    };
    run_program(&program, b"input", Instant::now() + limit, &|| false)
}

#[test]
fn a_program_reads_its_input_and_ends_by_itself() {
    let output = run_shell("cat; echo words >&2; exit 3", 100, Duration::from_secs(10));
    let output = output.unwrap();
    assert_eq!(output.ended, Ended::Exited(3));
    assert_eq!((&*output.stdout, &*output.stderr), (&b"input"[..], &b"words\n"[..]));
}

#[test]
fn a_program_is_bounded_in_time_and_output() {
    let started = Instant::now();
    let hangs = run_shell("exec sleep 60", 100, Duration::from_millis(100)).unwrap_err();
    assert!(matches!(hangs, Failure::TimedOut { .. }), "{hangs:?}");
    let floods = run_shell("yes", 100, Duration::from_secs(10)).unwrap_err();
    assert!(matches!(floods, Failure::Flood { .. }), "{floods:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_program_without_outputs_is_waited_for() {
    let output = run_shell("exec >&- 2>&-; sleep 0.2", 100, Duration::from_secs(10)).unwrap();
    assert_eq!(output.ended, Ended::Exited(0));
}
