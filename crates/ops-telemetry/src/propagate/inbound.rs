//! What a caller sent, and how far it is believed.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::{BAGGAGE, Baggage, Carrier, TRACEPARENT, TRACESTATE, TraceState};
use crate::context::TraceContext;
use crate::error::{Error, ErrorKind};

/// What stands in a message, well-formed, and not believed yet.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The caller's place in its trace.
    pub context: Option<TraceContext>,
    /// What other systems want handed on with that trace; empty without it.
    pub state: TraceState,
    /// The values that travel along.
    pub baggage: Baggage,
    /// Why a `traceparent` or a `tracestate` that is there was ignored.
    pub fault: Option<Error>,
}

/// What a piece of work starts with.
#[derive(Clone, Debug, Default)]
pub struct Inbound {
    /// The span above; without it the work starts a trace of its own.
    pub parent: Option<TraceContext>,
    /// A span that is no parent but belongs to the work.
    pub link: Option<TraceContext>,
    /// Handed on with the trace.
    pub state: TraceState,
    /// The values that travel along.
    pub baggage: Baggage,
}

/// Whose ids are continued. Whoever may name our trace ids can also mix its requests into other people's traces, and make
/// us record everything by the sampled flag.
#[derive(Clone)]
pub enum Trust {
    /// Everyone's. For a listener that only one's own services reach.
    Always,
    /// Nobody's: the edge to the internet.
    Never,
    /// Those of a peer with a loopback, private, link-local or unique local address (RFC 1918, 3927, 4193, 4291). Behind
    /// a proxy all peers have one: the proxy must remove the headers of strangers then.
    SameNetwork,
    /// Those of a peer for which this says so.
    Peers(Arc<dyn Fn(IpAddr) -> bool + Send + Sync>),
}

impl Received {
    /// Reads `traceparent`, `tracestate` and `baggage` as W3C demands: exactly one well-formed `traceparent`, or none; a
    /// `tracestate` only with it, and a malformed one harms nothing else. Never fails: see [`Received::fault`].
    pub fn extract(carrier: &(impl Carrier + ?Sized)) -> Self {
        let mut parents = texts(carrier, TRACEPARENT);
        let parent = match (parents.len(), parents.pop()) {
            (0, _) => Ok(None),
            (1, Some(Some(text))) => TraceContext::parse(&text).map(Some),
            (1, _) => Err(Error::new(ErrorKind::InvalidTraceparent, "traceparent is no text")),
            _ => Err(Error::new(ErrorKind::InvalidTraceparent, "traceparent is there more than once")),
        };
        let state = match parent {
            Ok(Some(_)) => match texts(carrier, TRACESTATE).into_iter().collect::<Option<Vec<_>>>() {
                Some(headers) => TraceState::parse(headers.iter().map(String::as_str)),
                None => Err(Error::new(ErrorKind::InvalidTracestate, "tracestate is no text")),
            },
            _ => Ok(TraceState::default()),
        };
        let baggage = texts(carrier, BAGGAGE);
        let fault = parent.as_ref().err().or(state.as_ref().err()).cloned();
        Self {
            context: parent.unwrap_or_default(),
            state: state.unwrap_or_default(),
            baggage: Baggage::parse(baggage.iter().flatten().map(String::as_str)),
            fault,
        }
    }

    /// Turns what was received into what the work starts with. Of a caller that is not trusted only a link remains: the
    /// work starts a trace of its own, decides itself whether it is sampled, and has no baggage.
    pub fn admit(self, is_trusted: bool) -> Inbound {
        if is_trusted {
            Inbound { parent: self.context, link: None, state: self.state, baggage: self.baggage }
        } else {
            Inbound { link: self.context, ..Inbound::default() }
        }
    }
}

impl Trust {
    /// Tells whether the ids of a message from `peer` are continued; `None` is a peer that nobody knows.
    pub fn admits(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|peer| peer.to_canonical())) {
            (Self::Always, _) => true,
            (Self::Never, _) | (_, None) => false,
            (Self::SameNetwork, Some(IpAddr::V4(peer))) => {
                peer.is_loopback() || peer.is_private() || peer.is_link_local()
            }
            (Self::SameNetwork, Some(IpAddr::V6(peer))) => {
                peer.is_loopback() || peer.is_unique_local() || peer.is_unicast_link_local()
            }
            (Self::Peers(is_trusted), Some(peer)) => is_trusted(peer),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "Always",
            Self::Never => "Never",
            Self::SameNetwork => "SameNetwork",
            Self::Peers(_) => "Peers(..)",
        })
    }
}

/// The values of a header, `None` for one that is no UTF-8.
fn texts(carrier: &(impl Carrier + ?Sized), name: &'static str) -> Vec<Option<String>> {
    let mut found = Vec::new();
    carrier.each(name, &mut |value| found.push(std::str::from_utf8(value).ok().map(str::to_owned)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-03";

    fn received(headers: &[(&'static str, &str)]) -> Received {
        let headers: Vec<(&'static str, Vec<u8>)> =
            headers.iter().map(|(name, value)| (*name, value.as_bytes().to_vec())).collect();
        Received::extract(&headers)
    }

    #[test]
    fn one_parent_or_none() {
        let check =
            |headers: &[(&'static str, &str)], has_parent: bool, state: &str, fault: Option<ErrorKind>| {
                let received = received(headers);
                assert_eq!(received.context.is_some(), has_parent, "{headers:?}");
                assert_eq!(received.state.to_header().unwrap_or_default(), state, "{headers:?}");
                assert_eq!(received.fault.map(|fault| fault.kind()), fault, "{headers:?}");
            };
        check(&[], false, "", None);
        check(&[("tracestate", "a=1")], false, "", None);
        check(&[("traceparent", PARENT)], true, "", None);
        check(
            &[("TraceParent", PARENT), ("TRACESTATE", "a=1"), ("tracestate", "b=2")],
            true,
            "a=1,b=2",
            None,
        );
        // Twice is none, also where both are the same.
        let twice = [("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")];
        check(&twice, false, "", Some(ErrorKind::InvalidTraceparent));
        let bad = [("traceparent", &PARENT[1..]), ("tracestate", "a=1")];
        check(&bad, false, "", Some(ErrorKind::InvalidTraceparent));
        let bad_state = [("traceparent", PARENT), ("tracestate", "a=1,b")];
        check(&bad_state, true, "", Some(ErrorKind::InvalidTracestate));
    }

    #[test]
    fn bytes_that_are_no_text_harm_only_their_header() {
        let headers = vec![
            ("traceparent", PARENT.as_bytes().to_vec()),
            ("tracestate", b"a=\xff".to_vec()),
            ("baggage", b"k=\xff".to_vec()),
            ("baggage", b"k=v".to_vec()),
        ];
        let found = Received::extract(&headers);
        assert!(found.context.is_some() && found.state.is_empty());
        assert_eq!(found.baggage.to_header().as_deref(), Some("k=v"));
        assert!(Received::extract(&vec![("traceparent", vec![0xff; 55])]).fault.is_some());
    }

    #[test]
    fn a_stranger_gives_a_link_and_nothing_else() {
        let message = [("traceparent", PARENT), ("tracestate", "a=1"), ("baggage", "k=v")];
        let trusted = received(&message).admit(true);
        assert_eq!(trusted.parent.map(|parent| parent.to_traceparent()).as_deref(), Some(PARENT));
        assert!(trusted.link.is_none() && !trusted.state.is_empty() && !trusted.baggage.is_empty());
        let stranger = received(&message).admit(false);
        assert_eq!(stranger.link.map(|link| link.to_traceparent()).as_deref(), Some(PARENT));
        assert!(stranger.parent.is_none() && stranger.state.is_empty() && stranger.baggage.is_empty());
    }

    #[test]
    fn trust_goes_by_the_peer() {
        let even = Trust::Peers(Arc::new(|peer| peer.to_string().ends_with('2')));
        let check = |peer: Option<&str>, same_network: bool, is_even: bool| {
            let peer = peer.map(|peer| peer.parse().expect(peer));
            assert_eq!(Trust::SameNetwork.admits(peer), same_network, "{peer:?}");
            assert_eq!(even.admits(peer), is_even, "{peer:?}");
            assert!(Trust::Always.admits(peer) && !Trust::Never.admits(peer));
        };
        check(None, false, false);
        check(Some("127.0.0.1"), true, false);
        check(Some("10.1.2.2"), true, true);
        check(Some("172.31.0.1"), true, false);
        check(Some("172.32.0.1"), false, false);
        check(Some("192.168.7.7"), true, false);
        check(Some("169.254.1.1"), true, false);
        check(Some("8.8.8.2"), false, true);
        check(Some("::1"), true, false);
        check(Some("fd00::1"), true, false);
        check(Some("fe80::1"), true, false);
        check(Some("2001:db8::2"), false, true);
        // A v4 peer of a v6 socket.
        check(Some("::ffff:10.0.0.1"), true, false);
        check(Some("::ffff:8.8.8.8"), false, false);
    }
}
