//! Each rule by a table, and what holds for any rules and any backups.

use proptest::prelude::*;

use super::*;

fn candidate(at: &str) -> Candidate {
    let at: Timestamp = at.parse().unwrap();
    Candidate { id: at.to_string(), source: "s".to_owned(), at, verified: false, bad: false }
}

/// Backups at these hours; `!` marks a bad one, `v` a verified one.
fn candidates(times: &[&str]) -> Vec<Candidate> {
    let one = |time: &&str| {
        let hour = time.trim_end_matches(['!', 'v']);
        let candidate = candidate(&format!("{hour}:00:00Z"));
        Candidate { bad: time.contains('!'), verified: time.contains('v'), ..candidate }
    };
    times.iter().map(one).collect()
}

/// What of `times` is kept at the end of November 2026, each with its reasons.
fn check(policy: &Retention, times: &[&str], expected: &[&str]) {
    let now = "2026-11-30T12:00:00Z".parse().unwrap();
    let decisions = decide(&candidates(times), policy, now);
    let kept = times.iter().zip(decisions).filter(|(_, decision)| decision.keep);
    let kept: Vec<String> =
        kept.map(|(time, decision)| format!("{time} {}", decision.reasons.join(", "))).collect();
    assert_eq!(kept, expected, "{policy:?}");
}

#[test]
fn each_rule_keeps_what_it_says() {
    let none = Retention::default;
    check(
        &none(),
        &["2001-01-01T00", "2026-11-30T00"],
        &["2001-01-01T00 there is no rule", "2026-11-30T00 there is no rule, the newest"],
    );
    check(
        &Retention { last: Some(0), daily: Some(0), ..none() },
        &["2001-01-01T00", "2026-11-30T00"],
        &["2001-01-01T00 there is no rule", "2026-11-30T00 there is no rule, the newest"],
    );
    check(
        &Retention { last: Some(2), ..none() },
        &["2026-11-03T00", "2026-11-01T00", "2026-11-02T00"],
        &["2026-11-03T00 last 1 of 2, the newest", "2026-11-02T00 last 2 of 2"],
    );
    let day = Some(SignedDuration::from_hours(24));
    check(
        &Retention { within: day, ..none() },
        &["2026-11-29T11", "2026-11-29T12", "2026-12-01T00"],
        &["2026-11-29T12 within 24h", "2026-12-01T00 within 24h, the newest"],
    );
    check(
        &Retention { daily: Some(2), ..none() },
        &["2026-11-20T23", "2026-11-27T01", "2026-11-27T23", "2026-11-30T00", "2026-11-30T01"],
        &["2026-11-27T23 daily 2 of 2", "2026-11-30T01 daily 1 of 2, the newest"],
    );
    // 2026-11-30 is a Monday; the first days of 2027 are in week 53 of 2026.
    check(
        &Retention { weekly: Some(2), ..none() },
        &["2026-11-22T23", "2026-11-23T00", "2026-11-29T23", "2026-11-30T00"],
        &["2026-11-29T23 weekly 2 of 2", "2026-11-30T00 weekly 1 of 2, the newest"],
    );
    check(
        &Retention { weekly: Some(2), ..none() },
        &["2026-12-27T00", "2026-12-28T00", "2027-01-03T00"],
        &["2026-12-27T00 weekly 2 of 2", "2027-01-03T00 weekly 1 of 2, the newest"],
    );
    check(
        &Retention { monthly: Some(2), yearly: Some(2), ..none() },
        &["2025-11-30T00", "2025-12-31T23", "2026-01-01T00", "2026-10-31T00", "2026-11-30T00"],
        &[
            "2025-12-31T23 yearly 2 of 2",
            "2026-10-31T00 monthly 2 of 2",
            "2026-11-30T00 monthly 1 of 2, yearly 1 of 2, the newest",
        ],
    );
}

#[test]
fn days_begin_where_the_policy_says() {
    let times = ["2026-11-27T20", "2026-11-27T23", "2026-11-28T01"];
    let utc = Retention { daily: Some(5), ..Retention::default() };
    check(&utc, &times, &["2026-11-27T23 daily 2 of 5", "2026-11-28T01 daily 1 of 5, the newest"]);
    let east = Retention { time_zone: TimeZone::fixed(jiff::tz::offset(2)), ..utc };
    check(&east, &times, &["2026-11-27T20 daily 2 of 5", "2026-11-28T01 daily 1 of 5, the newest"]);
}

#[test]
fn bad_backups_take_no_places_and_good_and_proven_ones_stay() {
    let last = |count| Retention { last: Some(count), ..Retention::default() };
    check(
        &last(1),
        &["2026-11-01T00v", "2026-11-02T00", "2026-11-03T00!", "2026-11-04T00!"],
        &[
            "2026-11-01T00v the newest verified",
            "2026-11-02T00 last 1 of 1, the newest good one",
            "2026-11-04T00! last 1 of 1, the newest",
        ],
    );
    check(
        &last(1),
        &["2026-11-01T00v", "2026-11-02T00!v", "2026-11-03T00"],
        &[
            "2026-11-01T00v the newest verified good one",
            "2026-11-02T00!v the newest verified",
            "2026-11-03T00 last 1 of 1, the newest",
        ],
    );
    check(
        &last(2),
        &["2026-11-01T00", "2026-11-02T00!", "2026-11-03T00"],
        &["2026-11-01T00 last 2 of 2", "2026-11-02T00! last 2 of 2", "2026-11-03T00 last 1 of 2, the newest"],
    );
}

#[test]
fn each_source_counts_alone() {
    let mut all = candidates(&["2026-11-01T00", "2026-11-02T00"]);
    all[0].source = "other".to_owned();
    let policy = Retention { last: Some(1), ..Retention::default() };
    assert!(decide(&all, &policy, Timestamp::UNIX_EPOCH).iter().all(|decision| decision.keep));
}

fn any_candidates() -> impl Strategy<Value = Vec<Candidate>> {
    let one = (0_i64..400 * 24, any::<bool>(), 0_u8..4, 0_u8..2);
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let one = |(number, (hour, verified, bad, source)): (usize, (i64, bool, u8, u8))| Candidate {
            id: format!("{number:03}"),
            source: format!("s{source}"),
            at: Timestamp::from_second(1_760_000_000 + hour * 3600).unwrap(),
            verified,
            bad: bad == 0,
        };
        all.into_iter().enumerate().map(one).collect()
    })
}

fn any_policy() -> impl Strategy<Value = Retention> {
    let count = || prop::option::of(0_u32..5);
    let within = prop::option::of((0_i64..50 * 24).prop_map(SignedDuration::from_hours));
    (count(), within, count(), count(), count(), count()).prop_map(
        |(last, within, daily, weekly, monthly, yearly)| Retention {
            last,
            within,
            daily,
            weekly,
            monthly,
            yearly,
            ..Retention::default()
        },
    )
}

fn kept(candidates: &[Candidate], policy: &Retention, now: Timestamp) -> Vec<Candidate> {
    let decisions = decide(candidates, policy, now);
    candidates
        .iter()
        .zip(decisions)
        .filter(|(_, decision)| decision.keep)
        .map(|(one, _)| one.clone())
        .collect()
}

proptest! {
    #[test]
    fn whatever_the_rules_the_last_ones_stay_and_twice_is_once(
        candidates in any_candidates(),
        policy in any_policy(),
        more in any_policy(),
    ) {
        let now = Timestamp::from_second(1_760_000_000 + 400 * 24 * 3600).unwrap();
        let left = kept(&candidates, &policy, now);
        prop_assert_eq!(&kept(&left, &policy, now), &left, "deciding again expires more");
        for source in ["s0", "s1"] {
            let of_source = || candidates.iter().filter(|one| one.source == source);
            let newest = |wanted: fn(&Candidate) -> bool| {
                of_source().filter(|one| wanted(one)).max_by_key(|one| (one.at, &one.id))
            };
            for wanted in [newest(|_| true), newest(|one| one.verified), newest(|one| !one.bad)] {
                prop_assert!(wanted.is_none_or(|wanted| left.contains(wanted)), "{:?} has expired", wanted);
            }
        }
        // Adding a rule never expires more; a policy that was empty becomes one.
        let mut added = policy.clone();
        added.last = added.last.max(more.last);
        added.within = added.within.max(more.within);
        added.daily = added.daily.max(more.daily);
        added.monthly = added.monthly.max(more.monthly);
        if !policy.is_empty() {
            let with_more = kept(&candidates, &added, now);
            prop_assert!(left.iter().all(|one| with_more.contains(one)));
        }
    }
}
