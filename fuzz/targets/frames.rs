#![no_main]

use microremed::sim::api::decoders;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| decoders::frames(bytes));
