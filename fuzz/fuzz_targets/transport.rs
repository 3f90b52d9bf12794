//! PROXY header, WebSocket upgrade and frames, and the reader of TLS versions, fed with whatever the fuzzer finds: whole and
//! in pieces it must come to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| tracemq_door::fuzzing::transport(data));
