//! `kind = "window"`: a deployment may happen now, and there is time enough to finish it.
//!
//! Deny beats allow. Windows are kept in the zone in which they were agreed, with the rules of the IANA database; where
//! a clock is set, an hour that exists twice or not at all is taken so that less is allowed.

use super::approvers::{Approvers, Granted, incident};
use super::calendar::{Freeze, Span as Stretch, Week};
use crate::gate::{Context, Facts, Gate, Wrong};
use crate::outcome::{Fault, Finding};
use crate::value::{Span, Text};
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far ahead the end of a window is looked for; nothing takes longer.
const AHEAD_DAYS: i64 = 15;

/// When changes may be made. Put it in a plan twice, first and last, where the gates between take long.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When a deployment may happen, every week.
    pub allow: Vec<Week>,
    /// When it may not happen, every week, whatever `allow` says.
    #[serde(default)]
    pub deny: Vec<Week>,
    /// Freezes, each from one moment to another. There is no default: where there is none, write `[]`.
    pub freezes: Vec<Freeze>,
    /// How long the deployment takes, with its rollback; so much must be left of the window.
    pub expected_duration: Span,
    /// Approvals (a file or a pattern) among which one with an incident opens the window, whatever it says above.
    pub emergency: Option<Text>,
    /// Who may sign such an approval: a list as for `kind = "approval"`, which the change must not be able to write.
    pub emergency_approvers: Option<Text>,
    /// The role that they must have.
    pub emergency_role: Option<String>,
}

/// What a calendar says about a moment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Open until then.
    Open(Timestamp),
    /// Closed, and why.
    Closed(&'static str, String),
}

impl Gate for Window {
    fn wrong(&self, facts: &Facts) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        if self.allow.is_empty() {
            let message = "`allow` is empty, so that no moment could pass; any time is `days = [\"mon\", …]`, `00:00` to `24:00`";
            wrong.push(Wrong::gate(message));
        }
        let weeks = self.allow.iter().chain(&self.deny).filter_map(|week| week.wrong());
        let freezes = self.freezes.iter().filter_map(Freeze::wrong);
        wrong.extend(weeks.chain(freezes).map(Wrong::gate));
        let emergency =
            [self.emergency.is_some(), self.emergency_approvers.is_some(), self.emergency_role.is_some()];
        if emergency.contains(&true) && emergency.contains(&false) {
            let message = "`emergency`, `emergency_approvers` and `emergency_role` belong together";
            wrong.push(Wrong::gate(message));
        }
        if emergency.contains(&true) && !facts.has_subject {
            wrong.push(Wrong::gate(
                "an emergency is approved for a commit or digest: give the plan a `[subject]`",
            ));
        }
        wrong
    }

    fn summary(&self) -> String {
        let allow: Vec<String> = self.allow.iter().map(ToString::to_string).collect();
        format!("within {}, {} left", allow.join(" or "), self.expected_duration)
    }

    fn check<'a>(&'a self, context: &'a Context<'a>) -> BoxFuture<'a, Finding> {
        Box::pin(async { self.look(context).await.unwrap_or_else(|finding| finding) })
    }
}

impl Window {
    async fn look(&self, context: &Context<'_>) -> Result<Finding, Finding> {
        let now = context.now();
        let answer =
            self.answer(now).map_err(|error| Finding::error(Fault::Unresolved, "calendar", error))?;
        let (code, reason) = match answer {
            Answer::Open(until) => {
                let left = until.duration_since(now);
                if left.unsigned_abs() >= self.expected_duration.get() {
                    let reason = format!("the window is open until {until}");
                    let finding = Finding::pass(reason).output("until", until.to_string());
                    return Ok(finding.measured("seconds_left", left.as_secs_f64()));
                }
                (
                    "too-late",
                    format!(
                        "the window closes at {until}, and the deployment takes {}",
                        self.expected_duration
                    ),
                )
            }
            Answer::Closed(code, reason) => (code, reason),
        };
        match self.emergency(context).await? {
            Some(granted) => {
                let incident = incident(&granted.record).unwrap_or_default().to_owned();
                let reason =
                    format!("EMERGENCY for incident {incident}, by {}; otherwise {reason}", granted.name);
                Ok(Finding { code: "emergency", ..Finding::pass(reason) }.output("incident", incident))
            }
            None => Err(Finding::fail(code, reason)),
        }
    }

    /// Who opened the window because of an incident.
    async fn emergency(&self, context: &Context<'_>) -> Result<Option<Granted>, Finding> {
        let (Some(path), Some(list), Some(role)) =
            (&self.emergency, &self.emergency_approvers, &self.emergency_role)
        else {
            return Ok(None);
        };
        let approvers = Approvers::parse(&super::super::read::text(context, list).await?)?;
        let granted = approvers.granted(context, path).await?;
        let opens = |it: &Granted| it.roles.contains(role) && incident(&it.record).is_some();
        Ok(granted.into_iter().find(opens))
    }

    /// What the calendar says about a moment.
    pub(super) fn answer(&self, now: Timestamp) -> Result<Answer, String> {
        for freeze in &self.freezes {
            if freeze.stretch()?.holds(now) {
                let (until, why) = (freeze.stretch()?.until, &freeze.reason);
                return Ok(Answer::Closed("freeze", format!("there is a freeze until {until}: {why}")));
            }
        }
        let stretches = |weeks: &[Week], allow: bool| {
            let near = weeks.iter().map(|week| week.near(now, AHEAD_DAYS, allow));
            near.collect::<Result<Vec<_>, _>>().map(|lists| lists.concat())
        };
        let denied: Vec<Stretch> = stretches(&self.deny, false)?;
        if let Some(stretch) = denied.iter().find(|stretch| stretch.holds(now)) {
            return Ok(Answer::Closed("denied", format!("nothing may be deployed until {}", stretch.until)));
        }
        let mut allowed: Vec<Stretch> = stretches(&self.allow, true)?;
        allowed.sort_by_key(|stretch| stretch.from);
        let Some(mut until) = allowed.iter().filter(|it| it.holds(now)).map(|it| it.until).max() else {
            let next = allowed.iter().map(|it| it.from).find(|from| *from > now);
            let next = next.map_or_else(String::new, |next| format!("; it opens at {next}"));
            return Ok(Answer::Closed("closed", format!("the window is closed{next}")));
        };
        // Windows that touch are one.
        for stretch in &allowed {
            if stretch.from <= until {
                until = until.max(stretch.until);
            }
        }
        let freezes: Vec<Stretch> = self.freezes.iter().map(Freeze::stretch).collect::<Result<_, _>>()?;
        let closes = denied.iter().chain(&freezes).map(|it| it.from).filter(|from| *from > now);
        Ok(Answer::Open(closes.chain([until]).min().unwrap_or(until)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(toml: &str) -> Window {
        toml::from_str(&format!("expected_duration = \"30m\"\n{toml}")).expect(toml)
    }

    fn check(window: &Window, now: &str, expected: &str) {
        let now: Timestamp = now.parse().expect(now);
        let got = match window.answer(now).expect("a sound calendar") {
            Answer::Open(until) => format!("open until {until}"),
            Answer::Closed(code, _) => code.to_owned(),
        };
        assert_eq!(got, expected, "{now}");
    }

    #[test]
    fn saturday_morning_in_utc() {
        let window = window(
            "freezes = []\nallow = [{ days = [\"sat\"], from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]",
        );
        for (now, expected) in [
            ("2026-11-21T01:59:59Z", "closed"),
            ("2026-11-21T02:00:00Z", "open until 2026-11-21T06:00:00Z"),
            ("2026-11-21T05:59:59Z", "open until 2026-11-21T06:00:00Z"),
            ("2026-11-21T06:00:00Z", "closed"),
            ("2026-11-22T03:00:00Z", "closed"),
        ] {
            check(&window, now, expected);
        }
    }

    #[test]
    fn deny_and_freezes_beat_allow_and_end_it_early() {
        let window = window(
            "allow = [{ days = [\"mon\", \"tue\", \"wed\", \"thu\", \"fri\"], from = \"09:00\", to = \"17:00\", zone = \"Europe/Berlin\" }]\n\
             deny = [{ days = [\"fri\"], from = \"12:00\", to = \"24:00\", zone = \"Europe/Berlin\" }]\n\
             freezes = [{ from = \"2026-12-21T15:00\", to = \"2027-01-04T00:00\", zone = \"Europe/Berlin\", reason = \"end of year\" }]",
        );
        for (now, expected) in [
            ("2026-11-20T08:00:00Z", "open until 2026-11-20T11:00:00Z"),
            ("2026-11-20T11:00:00Z", "denied"),
            ("2026-11-20T23:00:00Z", "closed"),
            ("2026-12-21T13:00:00Z", "open until 2026-12-21T14:00:00Z"),
            ("2026-12-21T14:00:00Z", "freeze"),
            ("2027-01-01T09:00:00Z", "freeze"),
            ("2027-01-04T08:00:00Z", "open until 2027-01-04T16:00:00Z"),
        ] {
            check(&window, now, expected);
        }
    }

    #[test]
    fn where_the_clock_is_set_less_is_allowed() {
        let night = window(
            "freezes = []\nallow = [{ days = [\"sun\"], from = \"02:30\", to = \"05:00\", zone = \"Europe/Berlin\" }]",
        );
        for (now, expected) in [
            // 29 March 2026: 02:30 does not exist; the window opens at 03:30 summer time.
            ("2026-03-29T01:00:00Z", "closed"),
            ("2026-03-29T01:30:00Z", "open until 2026-03-29T03:00:00Z"),
            // 25 October 2026: 02:30 exists twice; it opens at the second.
            ("2026-10-25T00:30:00Z", "closed"),
            ("2026-10-25T01:30:00Z", "open until 2026-10-25T04:00:00Z"),
        ] {
            check(&night, now, expected);
        }
        let early = window(
            "freezes = []\nallow = [{ days = [\"sun\"], from = \"00:30\", to = \"02:30\", zone = \"Europe/Berlin\" }]",
        );
        for (now, expected) in [
            // It closes at the first 02:30, and where there is none, when it is 02:30 by summer time.
            ("2026-10-25T00:29:00Z", "open until 2026-10-25T00:30:00Z"),
            ("2026-10-25T01:00:00Z", "closed"),
            ("2026-03-29T00:29:00Z", "open until 2026-03-29T00:30:00Z"),
            ("2026-03-29T00:30:00Z", "closed"),
        ] {
            check(&early, now, expected);
        }
        // What is denied lasts longer instead.
        let denied = window(
            "freezes = []\nallow = [{ days = [\"sat\", \"sun\", \"mon\"], from = \"00:00\", to = \"24:00\", zone = \"UTC\" }]\n\
             deny = [{ days = [\"sun\"], from = \"02:30\", to = \"02:45\", zone = \"Europe/Berlin\" }]",
        );
        for (now, expected) in [
            ("2026-10-25T00:29:59Z", "open until 2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", "denied"),
            ("2026-10-25T01:44:59Z", "denied"),
            ("2026-10-25T01:45:00Z", "open until 2026-10-27T00:00:00Z"),
        ] {
            check(&denied, now, expected);
        }
    }

    #[test]
    fn a_window_over_midnight_and_over_the_date_line() {
        let window = window(
            "freezes = []\nallow = [{ days = [\"fri\"], from = \"22:00\", to = \"02:00\", zone = \"Pacific/Kiritimati\" }]",
        );
        // 14 hours ahead of UTC: Friday 22:00 there is Friday 08:00 in UTC.
        for (now, expected) in [
            ("2026-11-20T07:59:59Z", "closed"),
            ("2026-11-20T08:00:00Z", "open until 2026-11-20T12:00:00Z"),
            ("2026-11-20T11:59:59Z", "open until 2026-11-20T12:00:00Z"),
            ("2026-11-20T12:00:00Z", "closed"),
        ] {
            check(&window, now, expected);
        }
    }

    #[test]
    fn windows_that_touch_are_one() {
        let every = "[\"mon\", \"tue\", \"wed\", \"thu\", \"fri\", \"sat\", \"sun\"]";
        let window = window(&format!(
            "freezes = []\nallow = [{{ days = {every}, from = \"00:00\", to = \"24:00\", zone = \"America/New_York\" }}]"
        ));
        let Answer::Open(until) =
            window.answer("2026-11-01T05:30:00Z".parse().expect("a time")).expect("a calendar")
        else {
            panic!("any time is open")
        };
        assert!(until > "2026-11-10T00:00:00Z".parse().expect("a time"), "{until}");
    }

    #[test]
    fn a_calendar_with_mistakes_is_refused() {
        let facts = Facts::default();
        for toml in [
            "freezes = []\nallow = []",
            "freezes = []\nallow = [{ days = [], from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]",
            "freezes = []\nallow = [{ days = [\"sat\"], from = \"2\", to = \"06:00\", zone = \"UTC\" }]",
            "freezes = []\nallow = [{ days = [\"sat\"], from = \"02:00\", to = \"25:00\", zone = \"UTC\" }]",
            "freezes = []\nallow = [{ days = [\"sat\"], from = \"02:00\", to = \"06:00\", zone = \"Berlin\" }]",
            "freezes = [{ from = \"2026-12-24\", to = \"2026-12-20\", zone = \"UTC\", reason = \"x\" }]\nallow = [{ days = [\"sat\"], from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]",
            "freezes = []\nemergency = \"x\"\nallow = [{ days = [\"sat\"], from = \"02:00\", to = \"06:00\", zone = \"UTC\" }]",
        ] {
            assert!(!window(toml).wrong(&facts).is_empty(), "{toml}");
        }
        // A list of freezes is never forgotten: it is written, also where it is empty.
        let without = "expected_duration = \"1m\"\nallow = []";
        assert!(toml::from_str::<Window>(without).is_err());
    }
}
