//! The tests of the `ops-gate` command: what it prints, how it exits, what it leaves.

mod after;
mod answers;
mod approve;
mod errors;
mod guardian;
mod mitigate;
mod secrets;
mod signals;
mod support;
