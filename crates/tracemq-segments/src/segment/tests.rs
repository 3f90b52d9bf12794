//! Segments are written and read back; damaged, cut, swapped and crafted ones are refused.

mod crafted;
mod damage;
mod format;
mod order;
mod parts;
mod roundtrip;
mod sample;
mod shapes;
