//! A segment of the store, as whoever damages or crafts it may leave it: no panic, no endless loop, bounded memory.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tracemq_segments::fuzzing::segment(data));
