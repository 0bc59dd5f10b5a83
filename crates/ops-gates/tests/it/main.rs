//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod attempts;
mod command;
mod evidence;
mod expand;
mod http;
mod kill;
mod plan;
mod policy;
mod postgres;
mod record;
mod support;
mod zoo;
