//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod attempts;
mod brokers;
mod command;
mod dns;
mod evidence;
mod expand;
mod http;
mod kill;
mod observability;
mod plan;
mod policy;
mod postgres;
mod record;
mod redis;
mod server;
mod stand_in;
mod stores;
mod support;
mod tcp;
mod tls;
mod zoo;
