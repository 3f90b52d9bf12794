//! The store against a plain list, on a disk that forgets, fails and fills up.

mod crash;
mod errors;
mod erase;
mod retain;
mod world;
