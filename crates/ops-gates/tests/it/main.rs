//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod command;
mod dns;
mod evidence;
mod http;
mod kill;
mod plan;
mod postgres;
mod record;
mod server;
mod stand_in;
mod support;
mod tcp;
mod tls;
mod zoo;
