//! A trace from one process to the next: what a caller sent, how far it is believed, and what is sent on.
//!
//! The texts are those of W3C Trace Context level 2 and W3C Baggage, read strictly: [`Received::extract`] takes them from
//! any [`Carrier`], [`Trust`] decides what becomes of them, and [`Outgoing::current`] is what the next process is told.
//! A module for each kind of neighbour knows its own limits.
//!
//! ```
//! use ops_telemetry::propagate::{Carrier, Received, Trust};
//!
//! let headers = vec![
//!     ("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
//!     ("baggage".to_owned(), "tenant=7".to_owned()),
//! ];
//! // From a stranger: a trace of our own, linked to theirs, and none of their baggage.
//! let inbound = Received::extract(&headers).admit(Trust::Never.admits(None));
//! assert!(inbound.parent.is_none() && inbound.link.is_some() && inbound.baggage.is_empty());
//! ```

mod baggage;
mod carrier;
pub mod environment;
mod inbound;
pub mod kafka;
mod outgoing;
pub mod postgres;
pub mod redis;
mod tracestate;

pub use baggage::{Baggage, BaggagePolicy};
pub use carrier::{BAGGAGE, Carrier, TRACEPARENT, TRACESTATE};
pub use inbound::{Inbound, Received, Trust};
pub use outgoing::Outgoing;
pub use tracestate::TraceState;

/// Appends `bytes`, each that `keep` refuses as `%XX`.
fn percent_encode(out: &mut String, bytes: &[u8], keep: impl Fn(u8) -> bool) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii() && keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 0x0f)]));
        }
    }
}
