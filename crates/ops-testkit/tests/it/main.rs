//! The integration tests of the test kit, one module a server kind.

mod azure;
mod lifetime;
mod postgres;
mod redis;
mod s3;
mod skip;
mod tools;
