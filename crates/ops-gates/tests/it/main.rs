//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod attempts;
mod benchmark;
mod capacity;
mod command;
mod cost;
mod evidence;
mod expand;
mod http;
mod kill;
mod latency;
mod log_quality;
mod plan;
mod policy;
mod postgres;
mod prometheus;
mod record;
mod stat;
mod suite;
mod support;
mod tool;
mod zoo;
