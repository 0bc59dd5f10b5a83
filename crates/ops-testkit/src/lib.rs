//! Disposable servers for tests: real ones, on free loopback ports, that never outlive the test.
//!
//! A test that talks to a mock proves little about backups or a guarded client; a server that a failed test leaves
//! behind breaks the next run. [`Postgres`] starts a real server of any installed major version in a fraction of a
//! second, as a user that is not root, and stops it on drop, on panic and when the test process is killed. [`Redis`] and
//! [`S3`] do the same for theirs, [`OpenBao`] for secrets.
//!
//! ```
//! # fn main() -> Result<(), ops_testkit::Error> {
//! # if ops_testkit::default_major().is_err() { return Ok(()) }
//! use ops_testkit::Postgres;
//!
//! let postgres = Postgres::builder().setting("work_mem", "1MB").start()?;
//! assert_eq!(postgres.psql("SHOW work_mem")?, "1MB");
//! println!("connect with any driver: {}", postgres.url());
//! # Ok(())
//! # }
//! ```
//!
//! The API is synchronous; an asynchronous test calls it directly. Environment variables:
//!
//! | name | meaning |
//! |---|---|
//! | `OPS_PG_MAJOR` | the major version of tests that do not ask for one |
//! | `OPS_PG_BIN_<major>` | where the programs of that version are |
//! | `OPS_TOOLS_DIR` | the folder of other tools, see [`tools_dir`] |
//! | `OPS_TEST_REQUIRE_ALL` | `1`: a test that would be skipped fails |
//! | `OPS_TEST_SKIP_LOG` | a file that gets one line for each skipped test |

mod azure;
mod cache;
mod error;
mod openbao;
mod postgres;
mod process;
mod redis;
mod s3;
mod server;
mod skip;
mod supervise;
mod tools;
mod user;

pub use azure::Azure;
pub use error::{Error, ErrorKind};
pub use openbao::OpenBao;
pub use postgres::{ExistingCluster, Mode, NewCluster, Postgres};
pub use process::{free_port, is_running};
pub use redis::{Redis, RedisBuilder};
pub use s3::S3;
pub use skip::record_skip;
pub use tools::{bin_dir, bin_exe, default_major, installed_majors, public_copy, tools_dir};
pub use user::TestUser;
