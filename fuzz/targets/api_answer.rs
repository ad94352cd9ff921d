#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| braid_fuzz::api_answer(bytes));
