#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tidings_catcher::fuzz::smtp_line(bytes));
