//! The store against a plain list, on a disk that forgets, fails and fills up.

mod crash;
mod damage;
mod damaged_pages;
mod erase;
mod errors;
mod groups;
mod limits;
mod lives;
mod orphans;
mod purge;
mod reading;
mod repair;
mod retain;
mod room;
mod unbounded;
mod waiting;
mod world;
