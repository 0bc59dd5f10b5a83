//! The tests of ops-gates from outside: plans, runs, and the real systems that they look at.

mod approval;
mod attempts;
mod attestation;
mod backup_freshness;
mod change;
mod command;
mod dns;
mod evidence;
mod expand;
mod http;
mod kill;
mod plan;
mod policy;
mod postgres;
mod record;
mod rehearsal;
mod scanners;
mod server;
mod stand_in;
mod support;
mod tcp;
mod tls;
mod zoo;
