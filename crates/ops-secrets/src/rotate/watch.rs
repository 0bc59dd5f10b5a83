//! The watch of a group: rounds of fetching, trying out and swapping, until it is stopped.

use super::error::{Error, ErrorKind};
use super::events::Events;
use super::live::{Health, Live, Part, Snapshot, State};
use super::member::{Life, Member};
use super::pace::Options;
use super::provider::{Fetched, Lease, Provider, Work};
use crate::mask::Masker;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::Instrument as _;

/// Why the caller refuses a new secret; the text is masked before anybody sees it.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

type Trial = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;
type Validate = Box<dyn Fn(Arc<Snapshot>) -> Trial + Send + Sync>;
type Random = Box<dyn FnMut() -> f64 + Send>;

/// Secrets that change together, or not at all: while one of them cannot be fetched, none is swapped, and the new ones of the
/// others wait. Each round that fails says so, [`Health::waits_for`] names the members, and after
/// [`Options::stale_for`] the secrets are no longer given out. So put only what belongs together into one group; what may change
/// alone gets a group of its own.
pub struct Group {
    options: Options,
    random: Random,
    members: Vec<(String, Arc<dyn Provider>)>,
    validate: Validate,
    masker: Masker,
}

impl Group {
    /// A group without members. `random` gives numbers from 0 to 1, for jitter alone.
    pub fn new(options: Options, random: impl FnMut() -> f64 + Send + 'static) -> Self {
        Self {
            options,
            random: Box::new(random),
            members: Vec::new(),
            validate: Box::new(|_| Box::pin(async { Ok(()) })),
            masker: Masker::new(),
        }
    }

    /// Adds a secret under a name; a later one of the same name takes its place.
    #[must_use]
    pub fn member(mut self, name: &str, provider: impl Provider + 'static) -> Self {
        self.members.retain(|(other, _)| other != name);
        self.members.push((name.to_owned(), Arc::new(provider)));
        self
    }

    /// Sets what tries a new secret out before anybody else gets it: opens one connection with it, for example.
    #[must_use]
    pub fn validate(mut self, try_out: impl Fn(Arc<Snapshot>) -> Trial + Send + Sync + 'static) -> Self {
        self.validate = Box::new(try_out);
        self
    }

    /// Makes every secret known to this masker before it is tried out, until some time after its last user let it go.
    #[must_use]
    pub fn masker(mut self, masker: Masker) -> Self {
        self.masker = masker;
        self
    }

    /// Fetches all members, tries them out, and returns the secrets and the watch that has to run.
    ///
    /// # Errors
    /// Fails where one of them cannot be fetched or `validate` refuses: a program that starts has no good secret to go on with.
    pub async fn start(self) -> Result<(Live, Watch), Error> {
        let Self { options, mut random, members, validate, masker } = self;
        let begin = Instant::now();
        let folders = members.iter().flat_map(|(_, provider)| provider.folders()).collect();
        // Before the first look: what changes between the two is seen.
        let events = Events::new(folders);
        let tools = Tools { options, validate, masker };
        let mut ready: Vec<Member> = Vec::new();
        for (name, provider) in members {
            match tools.fetch(&name, provider.as_ref()).await {
                Ok(part) => {
                    let life = Life::new(part.fetched.lease.as_ref(), Instant::now(), random());
                    ready.push(Member { name, provider, part: Arc::new(part), life });
                }
                Err(error) => {
                    tools.revoke_all(ready.iter().filter_map(leased).collect()).await;
                    return Err(error);
                }
            }
        }
        let parts = ready.iter().map(|member| (member.name.clone(), Arc::clone(&member.part)));
        let current = Arc::new(Snapshot { generation: 1, since: begin, members: parts.collect() });
        if let Err(error) = tools.try_out(Arc::clone(&current)).await {
            tools.revoke_all(ready.iter().filter_map(leased).collect()).await;
            return Err(error);
        }
        let health =
            Health { failing_since: None, failures: 0, error: None, waits_for: Vec::new(), stale_at: begin };
        let (state, seen) = watch::channel(State { current, previous: None, health, rounds: 0 });
        let live = Live::new(seen);
        let poll_due = Instant::now() + tools.options.next_poll(random());
        let asked = Arc::clone(&live.asked);
        let watch = Watch {
            tools,
            random,
            members: ready,
            state,
            asked,
            events,
            poll_due,
            refreshed: None,
            old: Vec::new(),
            unwell: BTreeSet::new(),
            missing: BTreeSet::new(),
        };
        watch.tell(None);
        Ok((live, watch))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group")
            .field("members", &self.members)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// What keeps a group fresh; it does nothing until [`run`](Self::run).
pub struct Watch {
    tools: Tools,
    random: Random,
    members: Vec<Member>,
    state: watch::Sender<State>,
    asked: Arc<Notify>,
    events: Events,
    poll_due: Instant,
    refreshed: Option<Instant>,
    old: Vec<Old>,
    /// The members that could not be visited, or whose new secret was refused, since they last were well.
    unwell: BTreeSet<usize>,
    /// Those among them that hold the others up.
    missing: BTreeSet<usize>,
}

/// What was swapped out, until its grace ends.
struct Old {
    until: Instant,
    leases: Vec<(Arc<dyn Provider>, Lease)>,
}

/// What a visit of a member found.
enum Visit {
    NotDue,
    Same,
    New(Part),
}

/// Why a round is made.
#[derive(Clone, Copy, PartialEq)]
enum Why {
    Time,
    /// Something happened in a folder.
    Event,
    /// A caller's login was refused: what is leased is suspect too.
    Asked,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("members", &self.members).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches until `stop` is ready. Spawn it; nothing is renewed or swapped without it.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        loop {
            let why = tokio::select! {
                biased;
                () = &mut stop => break,
                () = self.asked.notified() => Why::Asked,
                () = self.events.changed() => Why::Event,
                () = sleep_until(self.due()) => Why::Time,
            };
            if why == Why::Event {
                tokio::time::sleep(self.tools.options.settle).await;
            }
            self.round(why).instrument(tracing::info_span!("secrets_round")).await;
        }
        if self.tools.options.revoke_at_end {
            let mut leases: Vec<_> = self.members.iter().filter_map(leased).collect();
            for old in self.old.drain(..) {
                leases.extend(old.leases);
            }
            self.tools.revoke_all(leases).await;
        }
    }

    /// When something has to be done next.
    fn due(&self) -> Instant {
        let polled = self.members.iter().any(|member| matches!(member.life, Life::Confirmed(_)));
        let leases = self.members.iter().filter_map(|member| match &member.life {
            Life::Leased(leased) => Some(leased.due),
            Life::Confirmed(_) => None,
        });
        let old = self.old.iter().map(|old| old.until);
        // A sweep of the masker needs a visit now and then.
        let visit = Instant::now() + self.tools.options.mask_for.min(self.tools.options.poll * 10);
        leases.chain(old).chain(polled.then_some(self.poll_due)).fold(visit, Instant::min)
    }

    async fn round(&mut self, why: Why) {
        self.retire().await;
        let now = Instant::now();
        if why == Why::Asked {
            let just = self.refreshed.is_some_and(|at| now < at + self.tools.options.refresh_at_most_every);
            if just {
                return self.state.send_modify(|state| state.rounds += 1);
            }
        }
        self.events.watch_again();
        let end = self.try_round(why).await;
        if why == Why::Asked {
            self.refreshed = Some(Instant::now());
        }
        if let Err(error) = &end {
            let failures = self.state.borrow().health.failures + 1;
            tracing::warn!(code = error.code(), failures, "secrets stay as they are: {error}");
            self.put_off(error);
        }
        self.tell(end.err());
    }

    /// Lets go of what was swapped out long enough ago.
    async fn retire(&mut self) {
        let now = Instant::now();
        let (gone, kept): (Vec<Old>, Vec<Old>) = self.old.drain(..).partition(|old| old.until <= now);
        self.old = kept;
        if !gone.is_empty() {
            if self.old.is_empty() {
                self.state.send_modify(|state| state.previous = None);
            }
            self.tools.revoke_all(gone.into_iter().flat_map(|old| old.leases).collect()).await;
        }
        self.tools.masker.sweep(now.into_std(), self.tools.options.mask_for);
    }

    async fn try_round(&mut self, why: Why) -> Result<(), Error> {
        let polls = why != Why::Time || Instant::now() >= self.poll_due;
        let mut fresh: Vec<(usize, Part)> = Vec::new();
        let mut failure = None;
        for index in 0..self.members.len() {
            match self.visit(index, why, polls).await {
                Ok(Visit::New(part)) => {
                    self.missing.remove(&index);
                    fresh.push((index, part));
                }
                Ok(Visit::Same) => {
                    self.unwell.remove(&index);
                    self.missing.remove(&index);
                }
                Ok(Visit::NotDue) => {}
                // The others are visited all the same: a renewal does not wait for a broken file.
                Err(error) => {
                    self.unwell.insert(index);
                    self.missing.insert(index);
                    failure = failure.or(Some(error));
                }
            }
        }
        if failure.is_none() && polls {
            self.poll_due = Instant::now() + self.tools.options.next_poll((self.random)());
        }
        if fresh.is_empty() {
            return failure.map_or(Ok(()), Err);
        }
        let end = match failure {
            Some(error) => Err(error),
            None => {
                let candidate = self.candidate(&fresh);
                let end = self.tools.try_out(candidate).await;
                if end.is_err() {
                    self.missing.extend(fresh.iter().map(|(index, _)| *index));
                }
                end
            }
        };
        if let Err(error) = end {
            self.unwell.extend(fresh.iter().map(|(index, _)| *index));
            let issued = fresh.iter().filter_map(|(index, part)| {
                Some((Arc::clone(&self.members[*index].provider), part.fetched.lease.clone()?))
            });
            self.tools.revoke_all(issued.collect()).await;
            return Err(error);
        }
        self.unwell.retain(|index| !fresh.iter().any(|(new, _)| new == index));
        self.swap(fresh);
        Ok(())
    }

    /// Renews or fetches one member where that is due; what it returns is new.
    async fn visit(&mut self, index: usize, why: Why, polls: bool) -> Result<Visit, Error> {
        let random = (self.random)();
        let member = &mut self.members[index];
        if let Life::Leased(leased) = &mut member.life {
            if why != Why::Asked && Instant::now() < leased.due {
                return Ok(Visit::NotDue);
            }
            if why != Why::Asked && leased.lease.renewable {
                match self.tools.within(&member.name, member.provider.renew(&leased.lease)).await {
                    Ok(lease) => {
                        if leased.renewed(lease, Instant::now(), random) {
                            return Ok(Visit::Same);
                        }
                        tracing::info!(
                            member = member.name,
                            "a lease nears its end, a new secret is fetched"
                        );
                    }
                    Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                    Err(error) => tracing::info!(member = member.name, "a lease is not renewed: {error}"),
                }
            }
            return self.tools.fetch(&member.name, member.provider.as_ref()).await.map(Visit::New);
        }
        if !polls {
            return Ok(Visit::NotDue);
        }
        let part = self.tools.fetch(&member.name, member.provider.as_ref()).await?;
        if part.fetched.lease.is_none() && part.fetched.version == member.part.fetched.version {
            member.life = Life::Confirmed(Instant::now());
            return Ok(Visit::Same);
        }
        Ok(Visit::New(part))
    }

    fn candidate(&self, fresh: &[(usize, Part)]) -> Arc<Snapshot> {
        let state = self.state.borrow();
        let mut members = state.current.members.clone();
        for (index, part) in fresh {
            // The candidate has copies of its own: what is refused leaves no trace in what is used.
            let fields = part.fetched.fields.clone();
            let fetched = Fetched { fields, version: part.fetched.version.clone(), lease: None };
            members
                .insert(self.members[*index].name.clone(), Arc::new(Part { fetched, _masked: Vec::new() }));
        }
        Arc::new(Snapshot { generation: state.current.generation + 1, since: Instant::now(), members })
    }

    fn swap(&mut self, fresh: Vec<(usize, Part)>) {
        let now = Instant::now();
        let mut leases = Vec::new();
        for (index, part) in fresh {
            let life = Life::new(part.fetched.lease.as_ref(), now, (self.random)());
            let member = &mut self.members[index];
            leases.extend(leased(member));
            member.life = life;
            member.part = Arc::new(part);
        }
        self.old.push(Old { until: now + self.tools.options.grace, leases });
        let members: BTreeMap<String, Arc<Part>> =
            self.members.iter().map(|member| (member.name.clone(), Arc::clone(&member.part))).collect();
        self.state.send_modify(|state| {
            let generation = state.current.generation + 1;
            let new = Arc::new(Snapshot { generation, since: now, members });
            state.previous = Some(std::mem::replace(&mut state.current, new));
            tracing::info!(generation, "secrets were swapped");
        });
    }

    /// Sets the next tries after a failure.
    fn put_off(&mut self, error: &Error) {
        let (now, failures) = (Instant::now(), self.state.borrow().health.failures + 1);
        let random = (self.random)();
        self.poll_due = now + self.tools.options.retry(failures, random);
        for member in &mut self.members {
            if let Life::Leased(leased) = &mut member.life
                && leased.due <= now
            {
                let left = leased.ends.saturating_duration_since(now);
                leased.due = now + self.tools.options.retry_within(left, failures, random);
            }
        }
        tracing::debug!(failures, code = error.code(), "the next try is put off");
    }

    /// Tells those who look how it is.
    fn tell(&self, error: Option<Error>) {
        let options = &self.tools.options;
        let ends = self.members.iter().map(|member| member.life.stale_at(options));
        let stale_at = ends.min().unwrap_or_else(|| Instant::now() + options.stale_for);
        let names = self.missing.iter().map(|index| self.members[*index].name.clone());
        let waits_for = names.collect();
        self.state.send_modify(|state| {
            let health = &mut state.health;
            (health.stale_at, health.waits_for) = (stale_at, waits_for);
            match error {
                None if self.unwell.is_empty() => {
                    (health.failing_since, health.failures, health.error) = (None, 0, None);
                }
                // What failed was not due in this round, and nothing is known of it.
                None => {}
                Some(error) => {
                    health.failing_since.get_or_insert_with(Instant::now);
                    health.failures += 1;
                    health.error = Some(error.to_string());
                }
            }
            state.rounds += 1;
        });
    }
}

fn leased(member: &Member) -> Option<(Arc<dyn Provider>, Lease)> {
    match &member.life {
        Life::Leased(leased) => Some((Arc::clone(&member.provider), leased.lease.clone())),
        Life::Confirmed(_) => None,
    }
}

/// What start and watch do alike.
struct Tools {
    options: Options,
    validate: Validate,
    masker: Masker,
}

impl Tools {
    /// Fetches, and makes known what came before anybody can say it.
    async fn fetch(&self, name: &str, provider: &dyn Provider) -> Result<Part, Error> {
        let fetched = self.within(name, provider.fetch()).await?;
        let hold = |(field, secret): (&String, &crate::Secret)| {
            self.masker.hold(&format!("{name}.{field}"), secret.expose_secret())
        };
        let masked = fetched.fields.iter().map(hold).collect();
        Ok(Part { fetched, _masked: masked })
    }

    async fn within<T>(&self, name: &str, work: Work<'_, T>) -> Result<T, Error> {
        match timeout(self.options.timeout, work).await {
            Ok(end) => end.map_err(|error| {
                Error::new(error.kind(), format!("`{name}`: {}", self.masker.mask_str(&error.to_string())))
            }),
            Err(_) => {
                let seconds = self.options.timeout.as_secs();
                Err(Error::new(ErrorKind::Unavailable, format!("`{name}`: no answer within {seconds} s")))
            }
        }
    }

    async fn try_out(&self, candidate: Arc<Snapshot>) -> Result<(), Error> {
        let refused = |why: &str| {
            let why = self.masker.mask_str(why).into_owned();
            Error::new(ErrorKind::NotValidated, format!("the new secrets were tried out and refused: {why}"))
        };
        match timeout(self.options.timeout, (self.validate)(candidate)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refused(&error.to_string())),
            Err(_) => Err(refused("the trial did not end in time")),
        }
    }

    /// Ends leases as well as it can be done: those that stay end by themselves.
    async fn revoke_all(&self, leases: Vec<(Arc<dyn Provider>, Lease)>) {
        for (provider, lease) in leases {
            if let Err(error) = self.within("lease", provider.revoke(&lease)).await {
                tracing::info!(
                    source = provider.name(),
                    "a lease was not revoked and ends by itself: {error}"
                );
            }
        }
    }
}
