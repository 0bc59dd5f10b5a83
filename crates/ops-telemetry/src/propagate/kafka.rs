//! A trace in the headers of Kafka records: lower-case names, UTF-8 values.
//!
//! Record headers are a list in which a name may stand twice, so a record that is produced again must have its headers
//! replaced: [`replace`] does. A consumer that takes many records at once has many callers and no parent; it links to
//! them: [`extract_links`].

use super::{BaggagePolicy, Outgoing, Received};
use crate::context::TraceContext;

/// The most links of one span, as in OpenTelemetry's limits.
pub const MAX_LINKS: usize = 128;

/// Returns the headers for a new record. Empty where no [`TelemetryLayer`](crate::TelemetryLayer) is installed.
pub fn headers(policy: &BaggagePolicy) -> Vec<(&'static str, Vec<u8>)> {
    let pairs = Outgoing::current(policy).map(|outgoing| outgoing.to_pairs()).unwrap_or_default();
    pairs.into_iter().map(|(name, value)| (name, value.into_bytes())).collect()
}

/// Returns the headers for a record that is passed on: those that it had, with the trace replaced by the current one, or
/// removed where no [`TelemetryLayer`](crate::TelemetryLayer) is installed.
pub fn replace(
    headers: impl IntoIterator<Item = (String, Vec<u8>)>,
    policy: &BaggagePolicy,
) -> Vec<(String, Vec<u8>)> {
    let mut headers: Vec<_> = headers.into_iter().filter(|(name, _)| !is_ours(name.as_bytes())).collect();
    headers.extend(self::headers(policy).into_iter().map(|(name, value)| (name.to_owned(), value)));
    headers
}

/// Reads the trace from the headers of one record.
pub fn extract<N: AsRef<[u8]>, V: AsRef<[u8]>>(headers: impl IntoIterator<Item = (N, V)>) -> Received {
    Received::extract(&carrier(headers))
}

/// Reads where the records of a batch come from, each place once and at most [`MAX_LINKS`] of them: the links of the span
/// that works on the batch.
pub fn extract_links<N, V, H>(batch: impl IntoIterator<Item = H>) -> Vec<TraceContext>
where
    N: AsRef<[u8]>,
    V: AsRef<[u8]>,
    H: IntoIterator<Item = (N, V)>,
{
    let mut links: Vec<TraceContext> = Vec::new();
    for context in batch.into_iter().filter_map(|headers| extract(headers).context) {
        if links.len() == MAX_LINKS {
            break;
        }
        if !links.iter().any(|link| (link.trace_id, link.span_id) == (context.trace_id, context.span_id)) {
            links.push(context);
        }
    }
    links
}

/// The pairs that concern a trace, as a carrier.
pub(super) fn carrier<N: AsRef<[u8]>, V: AsRef<[u8]>>(
    pairs: impl IntoIterator<Item = (N, V)>,
) -> Vec<(String, Vec<u8>)> {
    let ours = pairs.into_iter().filter(|(name, _)| is_ours(name.as_ref()));
    ours.map(|(name, value)| (String::from_utf8_lossy(name.as_ref()).into_owned(), value.as_ref().to_vec()))
        .collect()
}

fn is_ours(name: &[u8]) -> bool {
    [super::TRACEPARENT, super::TRACESTATE, super::BAGGAGE]
        .iter()
        .any(|ours| ours.as_bytes().eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(span: u64) -> Vec<(&'static str, String)> {
        vec![
            ("key", "x".into()),
            ("traceparent", format!("00-0af7651916cd43dd8448eb211c80319c-{span:016x}-01")),
        ]
    }

    #[test]
    fn a_batch_links_to_each_sender_once() {
        let batch = [record(1), record(2), record(1), vec![("traceparent", "bad".to_owned())], vec![]];
        let links = extract_links(batch);
        assert_eq!(links.iter().map(|link| link.span_id.get()).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(extract_links((1..300).map(record)).len(), MAX_LINKS);
    }

    #[test]
    fn two_parents_in_one_record_are_none() {
        let mut headers = record(1);
        headers.extend(record(2));
        assert!(extract(headers).context.is_none());
    }
}
