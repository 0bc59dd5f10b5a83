//! A trace on its way through Redis. A command has no room for headers: a connection has a name, and an entry of a stream
//! or a published message has fields of its own.

use super::{BaggagePolicy, Outgoing, Received};

/// Returns `service@version` as the value of `CLIENT SETNAME`, which refuses blanks and control characters: each
/// character that is no visible ASCII becomes `_`.
pub fn client_name(service: &str, version: &str) -> String {
    format!("{service}@{version}").chars().map(|c| if matches!(c, '!'..='~') { c } else { '_' }).collect()
}

/// Returns the fields that let the reader of a stream entry continue the trace, to be added to those of `XADD`. Empty
/// where no [`TelemetryLayer`](crate::TelemetryLayer) is installed.
pub fn stream_fields(policy: &BaggagePolicy) -> Vec<(&'static str, String)> {
    Outgoing::current(policy).map(|outgoing| outgoing.to_pairs()).unwrap_or_default()
}

/// Reads the trace from the fields of a stream entry.
pub fn extract<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: impl IntoIterator<Item = (N, V)>) -> Received {
    Received::extract(&super::kafka::carrier(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_name_has_no_blanks() {
        assert_eq!(client_name("my orders\n", "1.0"), "my_orders_@1.0");
        assert_eq!(client_name("ü", "1"), "_@1");
    }

    #[test]
    fn an_entry_gives_back_its_trace() {
        let fields =
            [("order", "7"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")];
        assert!(extract(fields).context.is_some());
        assert!(extract([(b"order", b"7")]).context.is_none());
    }
}
