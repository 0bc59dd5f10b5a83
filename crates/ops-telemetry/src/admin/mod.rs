//! What operators ask a running process: its metrics, whether it lives, whether it is ready, and a more talkative log.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | the page of all metrics, in the format that `Accept` asks for |
//! | `GET /live` | 200 as long as the process can answer at all |
//! | `GET /ready` | 200 where all checks pass, else 503, with the checks as JSON |
//! | `PUT /admin/level?ttl=600` | sets the filter of the log to the text of the body, for that many seconds |
//!
//! An [`Admin`] answers; who asks reaches it through a router of the service (feature `http`: `Admin::service`) or,
//! in a program without one, through [`Listener`]. There is no authentication: keep it off the public listener.
//!
//! ```
//! use ops_telemetry::admin::{Admin, Listen, Listener};
//! use ops_telemetry::metrics::Registry;
//!
//! let admin = Admin::new(&Registry::new());
//! let database = admin.check("postgres"); // not ready until it passes
//! let listen = Listen { addr: ([127, 0, 0, 1], 0).into(), ..Listen::default() };
//! let listener = Listener::start(&admin, listen)?;
//! database.pass();
//! # let _ = listener.local_addr();
//! # Ok::<(), ops_telemetry::Error>(())
//! ```

mod check;
mod listen;
mod respond;
#[cfg(feature = "http")]
mod service;
mod wire;

pub use check::Check;
pub use listen::{Listen, Listener};
pub use respond::{Admin, Answer, Question};
#[cfg(feature = "http")]
pub use service::AdminService;
