//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod attestation;
mod command;
mod evidence;
mod http;
mod kill;
mod plan;
mod postgres;
mod record;
mod rehearsal;
mod support;
mod zoo;
