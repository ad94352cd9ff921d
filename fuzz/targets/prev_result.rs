#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::prev_result(bytes));
