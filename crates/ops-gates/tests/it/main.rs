//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod brokers;
mod command;
mod dns;
mod evidence;
mod http;
mod kill;
mod observability;
mod plan;
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
