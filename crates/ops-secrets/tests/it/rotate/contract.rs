//! What every provider keeps; a new implementation is one more call from a test.

use ops_secrets::rotate::{ErrorKind, Fetched, Lease, Provider};
use std::time::Duration;

/// Checks a provider against its contract. `change` gives the secret of the source another value; None where it never changes.
pub(crate) async fn check(provider: &dyn Provider, mut change: Option<&mut dyn FnMut()>) {
    let first = provider.fetch().await.unwrap();
    assert!(!first.fields.is_empty() && first.fields.values().all(|secret| !secret.is_empty()));
    drop(provider.fetch());
    let second = provider.fetch().await.unwrap();
    match (&first.lease, &second.lease) {
        (None, None) => {
            assert_eq!(
                (&first.version, values(&first)),
                (&second.version, values(&second)),
                "nothing changed"
            );
            let lease = Lease { id: "x".into(), remaining: Duration::from_secs(1), renewable: true };
            assert_eq!(provider.renew(&lease).await.unwrap_err().kind(), ErrorKind::NotRenewable);
            provider.revoke(&lease).await.unwrap();
        }
        (Some(one), Some(two)) => {
            assert_ne!((&one.id, values(&first)), (&two.id, values(&second)), "each fetch issues its own");
            assert!(one.remaining > Duration::ZERO);
            leases(provider, one, two).await;
        }
        _ => panic!("a lease now and then"),
    }
    if let Some(change) = &mut change {
        change();
        let third = provider.fetch().await.unwrap();
        assert_ne!((&second.version, values(&second)), (&third.version, values(&third)), "it changed");
        says_no_value(provider, &third);
    }
    says_no_value(provider, &first);
    says_no_value(provider, &second);
}

async fn leases(provider: &dyn Provider, one: &Lease, two: &Lease) {
    let renewed = provider.renew(one).await.unwrap();
    assert_eq!(renewed.id, one.id);
    provider.revoke(one).await.unwrap();
    provider.revoke(one).await.unwrap();
    assert_eq!(provider.renew(one).await.unwrap_err().kind(), ErrorKind::NotRenewable);
    assert!(provider.renew(two).await.is_ok(), "one lease is not another");
    provider.revoke(two).await.unwrap();
}

fn values(fetched: &Fetched) -> Vec<(&str, &str)> {
    fetched.fields.iter().map(|(name, secret)| (name.as_str(), secret.expose_secret().as_str())).collect()
}

fn says_no_value(provider: &dyn Provider, fetched: &Fetched) {
    let said = format!("{provider:?} {} {fetched:?} {}", provider.name(), fetched.version);
    for (_, value) in values(fetched) {
        assert!(!said.contains(value), "{}", provider.name());
    }
}
