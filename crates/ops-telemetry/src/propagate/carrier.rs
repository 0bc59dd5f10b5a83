//! What can hold the headers of a trace: a list of pairs, a map of HTTP headers, the headers of a record.

/// The name of the header that says where the caller stands.
pub const TRACEPARENT: &str = "traceparent";

/// The name of the header with what other tracing systems want handed on.
pub const TRACESTATE: &str = "tracestate";

/// The name of the header with the values that travel along.
pub const BAGGAGE: &str = "baggage";

/// Holds named values.
///
/// Contract: names are compared without regard to ASCII case. [`Carrier::each`] shows all values of a name, in order;
/// a value may be any bytes. After [`Carrier::replace`] a name has the given value and no other.
pub trait Carrier {
    /// Calls `see` with each value of `name`.
    fn each(&self, name: &'static str, see: &mut dyn FnMut(&[u8]));

    /// Makes `value` the only value of `name`, or removes the name. A value is printable ASCII.
    fn replace(&mut self, name: &'static str, value: Option<&str>);
}

impl<N: AsRef<str> + From<&'static str>, V: AsRef<[u8]> + for<'a> From<&'a str>> Carrier for Vec<(N, V)> {
    fn each(&self, name: &'static str, see: &mut dyn FnMut(&[u8])) {
        for (_, value) in self.iter().filter(|(known, _)| known.as_ref().eq_ignore_ascii_case(name)) {
            see(value.as_ref());
        }
    }

    fn replace(&mut self, name: &'static str, value: Option<&str>) {
        self.retain(|(known, _)| !known.as_ref().eq_ignore_ascii_case(name));
        self.extend(value.map(|value| (name.into(), value.into())));
    }
}

#[cfg(feature = "http")]
impl Carrier for http::HeaderMap {
    fn each(&self, name: &'static str, see: &mut dyn FnMut(&[u8])) {
        self.get_all(name).iter().for_each(|value| see(value.as_bytes()));
    }

    fn replace(&mut self, name: &'static str, value: Option<&str>) {
        self.remove(name);
        if let Some(value) = value.and_then(|value| http::HeaderValue::from_str(value).ok()) {
            self.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What every carrier must do.
    fn check(carrier: &mut impl Carrier) {
        let values = |carrier: &dyn Carrier, name: &'static str| {
            let mut found = Vec::new();
            carrier.each(name, &mut |value| found.push(String::from_utf8_lossy(value).into_owned()));
            found
        };
        assert_eq!(values(carrier, TRACEPARENT), ["1", "2"]);
        assert!(values(carrier, BAGGAGE).is_empty());
        carrier.replace(TRACEPARENT, Some("3"));
        carrier.replace(BAGGAGE, Some("k=v"));
        assert_eq!(values(carrier, TRACEPARENT), ["3"]);
        assert_eq!(values(carrier, BAGGAGE), ["k=v"]);
        carrier.replace(TRACEPARENT, None);
        carrier.replace(TRACESTATE, None);
        assert!(values(carrier, TRACEPARENT).is_empty());
        assert_eq!(values(carrier, "other"), ["x"]);
    }

    #[test]
    fn pairs_are_a_carrier() {
        let pairs = [("Traceparent", "1"), ("other", "x"), ("TRACEPARENT", "2")];
        check(&mut pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        check(&mut pairs.map(|(name, value)| (name, value.as_bytes().to_vec())).to_vec());
    }

    #[cfg(feature = "http")]
    #[test]
    fn a_header_map_is_a_carrier() {
        let mut headers = http::HeaderMap::new();
        for (name, value) in [(TRACEPARENT, "1"), ("other", "x"), (TRACEPARENT, "2")] {
            headers.append(name, http::HeaderValue::from_static(value));
        }
        check(&mut headers);
    }
}
