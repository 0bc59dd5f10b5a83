//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod attempts;
mod command;
mod drill;
mod evidence;
mod expand;
mod history;
mod http;
mod kill;
mod notify;
mod plan;
mod policy;
mod postgres;
mod record;
mod report;
mod stat;
mod support;
mod zoo;
