//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod command;
mod drill;
mod evidence;
mod history;
mod http;
mod kill;
mod notify;
mod plan;
mod postgres;
mod record;
mod report;
mod stat;
mod support;
mod zoo;
