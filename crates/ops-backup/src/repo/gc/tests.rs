//! A model of everything that meets garbage collection, in random order: jobs, zombies, expiry, marks on old surveys,
//! sweeps that stop half-way, lists that miss objects, and time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};
use proptest::prelude::*;

use super::*;
use crate::monitor::Monitor;
use crate::repo::crypt;
use crate::repo::fake::{self, Fault, FaultyStore, Pack};
use crate::repo::lease::Lease;
use crate::repo::log::{Event, Expired};
use crate::repo::pack::PackTable;
use crate::repo::{Repository, object_path};

const WAITING: Waiting =
    Waiting { grace: SignedDuration::from_hours(24), resumable: SignedDuration::from_hours(7 * 24) };

/// One step of one host. Numbers choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Begin { bases: [usize; 2], source: usize },
    Write { job: usize },
    Reuse { job: usize, pack: usize },
    Part { job: usize },
    Commit { job: usize },
    Abandon { job: usize },
    Expire { backup: usize },
    Survey,
    Condemn { survey: usize },
    Mark,
    Sweep,
    HalfSweep,
    Wait { hours: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let any = 0_usize..100;
    prop_oneof![
        3 => ([any.clone(), any.clone()], 0_usize..2).prop_map(|(bases, source)| Step::Begin { bases, source }),
        4 => any.clone().prop_map(|job| Step::Write { job }),
        4 => (any.clone(), any.clone()).prop_map(|(job, pack)| Step::Reuse { job, pack }),
        1 => any.clone().prop_map(|job| Step::Part { job }),
        3 => any.clone().prop_map(|job| Step::Commit { job }),
        1 => any.clone().prop_map(|job| Step::Abandon { job }),
        2 => any.clone().prop_map(|backup| Step::Expire { backup }),
        1 => Just(Step::Survey),
        1 => any.prop_map(|survey| Step::Condemn { survey }),
        2 => Just(Step::Mark),
        2 => Just(Step::Sweep),
        1 => Just(Step::HalfSweep),
        1 => (1_i64..100).prop_map(|hours| Step::Wait { hours }),
    ]
}

/// A job as its process sees it; it may have been abandoned without knowing.
struct Job {
    lease: Lease,
    /// What its bases refer to.
    available: BTreeSet<Pack>,
    refers: BTreeSet<Pack>,
    parts: usize,
}

struct World {
    memory: Arc<InMemory>,
    hosts: Vec<Repository>,
    jobs: Vec<Job>,
    /// What each backup, and each job that may be a base, refers to.
    reach: BTreeMap<String, BTreeSet<Pack>>,
    surveys: Vec<Survey>,
    now: Timestamp,
    begun: usize,
}

fn pick<T>(all: &[T], number: usize) -> Option<&T> {
    if all.is_empty() { None } else { all.get(number % all.len()) }
}

impl World {
    async fn new() -> Self {
        let memory = Arc::new(InMemory::new());
        let honest: Arc<dyn ObjectStore> = Arc::clone(&memory) as Arc<dyn ObjectStore>;
        let forgetful: Arc<dyn ObjectStore> = FaultyStore::new(&memory, Fault::Forget, 0);
        let first = Repository::open_or_create(Arc::clone(&honest), None).await.unwrap();
        let hosts = vec![first, fake::through(honest).await, fake::through(forgetful).await];
        World {
            memory,
            hosts,
            jobs: Vec::new(),
            reach: BTreeMap::new(),
            surveys: Vec::new(),
            now: Timestamp::now(),
            begun: 0,
        }
    }

    async fn step(&mut self, host: usize, step: Step) {
        let repository = self.hosts[host % self.hosts.len()].clone();
        match step {
            Step::Begin { bases, source } => self.begin(&repository, bases, source).await,
            Step::Write { job } => self.write(&repository, job).await,
            Step::Reuse { job, pack } => {
                let count = self.jobs.len();
                if count == 0 {
                    return;
                }
                let job = &mut self.jobs[job % count];
                let available: Vec<_> = job.available.iter().cloned().collect();
                job.refers.extend(pick(&available, pack).cloned());
            }
            Step::Part { job } => {
                let count = self.jobs.len();
                if count == 0 {
                    return;
                }
                let job = &mut self.jobs[job % count];
                job.parts += 1;
                let path = format!("backups/{}/part-{}", job.lease.id(), job.parts);
                repository.create(&object_path(&path), Bytes::new()).await.unwrap();
            }
            Step::Commit { job } => self.commit(&repository, job).await,
            Step::Abandon { job } => {
                let state = repository.state().await.unwrap();
                let running: Vec<_> = state.running.keys().collect();
                if let Some(id) = pick(&running, job) {
                    repository.abandon(id, "test").await.unwrap();
                }
            }
            Step::Expire { backup } => {
                let state = repository.state().await.unwrap();
                let live: Vec<_> = state.backups.keys().collect();
                let Some(id) = pick(&live, backup) else { return };
                let expired = Expired { backup: (*id).clone(), reason: String::new() };
                repository
                    .append(|_| Ok(Some(Event::Expire { backups: vec![expired.clone()] })))
                    .await
                    .unwrap();
            }
            Step::Survey => self.surveys.push(repository.survey(self.now, WAITING, |_| ()).await.unwrap()),
            Step::Condemn { survey } => {
                if let Some(survey) = pick(&self.surveys, survey) {
                    repository.condemn(survey.clone()).await.unwrap();
                }
            }
            Step::Mark => drop(repository.mark(self.now, WAITING).await.unwrap()),
            Step::Sweep => drop(repository.sweep(self.now, WAITING, &Monitor::default()).await.unwrap()),
            Step::HalfSweep => self.half_sweep(&repository).await,
            Step::Wait { hours } => self.now += SignedDuration::from_hours(hours),
        }
    }

    async fn begin(&mut self, repository: &Repository, bases: [usize; 2], source: usize) {
        self.begun += 1;
        let id = format!("{:03}", self.begun);
        let source = ["tree/x", "tree/y"][source];
        let chosen = |state: &crate::repo::log::State| {
            let all: Vec<String> = state.backups.keys().chain(state.abandoned.keys()).cloned().collect();
            let chosen: BTreeSet<String> = bases
                .iter()
                .filter(|base| **base > 20)
                .filter_map(|base| pick(&all, *base))
                .cloned()
                .collect();
            chosen.into_iter().collect()
        };
        let lease = repository.begin(&id, source, chosen, true).await.unwrap();
        let bases = lease.begun().running[&id].bases.clone();
        let available: BTreeSet<_> = bases.iter().flat_map(|base| self.reach[base].clone()).collect();
        self.reach.insert(id, available.clone());
        self.jobs.push(Job { lease, available, refers: BTreeSet::new(), parts: 0 });
    }

    async fn write(&mut self, repository: &Repository, job: usize) {
        let count = self.jobs.len();
        if count == 0 {
            return;
        }
        let job = &mut self.jobs[job % count];
        let pack = (job.lease.id().to_owned(), crypt::random().unwrap());
        repository.create(&fake::pack_ref(&pack).path(), Bytes::from_static(b"0123456789")).await.unwrap();
        job.refers.insert(pack.clone());
        // What a zombie writes is of no use to others.
        if repository.state().await.unwrap().running.contains_key(job.lease.id()) {
            self.reach.get_mut(job.lease.id()).unwrap().insert(pack);
        }
    }

    async fn commit(&mut self, repository: &Repository, job: usize) {
        if self.jobs.is_empty() {
            return;
        }
        let Job { lease, refers, .. } = self.jobs.swap_remove(job % self.jobs.len());
        let id = lease.id().to_owned();
        let mut backup = fake::backup(&id);
        backup.manifest = fake::write_manifest(repository, &id, &refers).await;
        let was_running = repository.state().await.unwrap().running.contains_key(&id);
        assert_eq!(lease.commit(backup).await.is_ok(), was_running, "only what was not abandoned commits");
        if was_running {
            self.reach.insert(id, refers);
        }
    }

    /// A sweep that is killed after some of its removals.
    async fn half_sweep(&self, repository: &Repository) {
        for condemned in repository.state().await.unwrap().condemned.values() {
            let list = repository.read_list(&condemned.list).await.unwrap();
            for path in list.paths().take(1) {
                repository.remove(&object_path(path)).await.unwrap();
            }
        }
    }

    async fn has(&self, pack: &Pack) -> bool {
        self.memory.head(&fake::pack_ref(pack).path()).await.is_ok()
    }

    /// What must hold at all times.
    async fn check(&self) {
        let state = self.hosts[0].state().await.unwrap();
        for id in state.backups.keys() {
            self.hosts[0].read_manifest(id, None, &PackTable::default()).await.unwrap();
            for pack in &self.reach[id] {
                assert!(self.has(pack).await, "backup {id} has lost {}", fake::pack_ref(pack).path());
            }
        }
        // The next job may build on these, and the running ones do.
        for id in state.running.keys().chain(state.abandoned.keys()) {
            for pack in &self.reach[id] {
                assert!(self.has(pack).await, "job {id} has lost {}", fake::pack_ref(pack).path());
            }
        }
    }

    /// Once nothing runs and time has passed, nothing is left but what backups need.
    async fn settle(mut self) {
        let repository = self.hosts[0].clone();
        // Their heartbeats end with them.
        self.jobs.clear();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        for id in repository.state().await.unwrap().running.into_keys() {
            repository.abandon(&id, "the end").await.unwrap();
        }
        for _ in 0..2 {
            self.now += SignedDuration::from_hours(30 * 24);
            repository.mark(self.now, WAITING).await.unwrap();
            self.now += WAITING.grace;
            repository.sweep(self.now, WAITING, &Monitor::default()).await.unwrap();
        }
        self.check().await;
        let state = repository.state().await.unwrap();
        assert!(state.condemned.is_empty() && state.expired.is_empty() && state.abandoned.is_empty());
        let needed: BTreeSet<String> = state
            .backups
            .keys()
            .flat_map(|id| self.reach[id].iter().map(|pack| fake::pack_ref(pack).path().to_string()))
            .collect();
        for object in repository.list_all("").await.unwrap() {
            let path = object.location.to_string();
            let names: Vec<&str> = path.split('/').collect();
            let expected = match names[..] {
                ["packs", owner, _] => needed.contains(&path) || state.backups.contains_key(owner),
                ["backups", id, "manifest"] => state.backups.contains_key(id),
                ["repository.json"] | ["log", ..] => true,
                _ => false,
            };
            assert!(expected, "{path} stays");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn nothing_that_is_needed_goes_and_nothing_else_stays(
        steps in prop::collection::vec((0_usize..3, step()), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for (host, step) in steps {
                world.step(host, step).await;
                world.check().await;
            }
            world.settle().await;
        });
    }
}

/// The rarest of the interleavings: a job builds on what a survey has already found useless.
#[tokio::test]
async fn a_survey_that_is_out_of_date_condemns_nothing() {
    let mut world = World::new().await;
    let repository = world.hosts[0].clone();
    world.step(0, Step::Begin { bases: [0, 0], source: 0 }).await;
    world.step(0, Step::Write { job: 0 }).await;
    world.step(0, Step::Abandon { job: 0 }).await;
    world.step(0, Step::Wait { hours: 8 * 24 }).await;
    world.step(0, Step::Survey).await;
    assert_eq!(world.surveys[0].packs.len(), 1, "nobody has resumed the job for a week");
    world.step(1, Step::Begin { bases: [50, 50], source: 0 }).await;
    assert_eq!(repository.state().await.unwrap().running["002"].bases, ["001"]);
    assert_eq!(repository.condemn(world.surveys[0].clone()).await.unwrap(), Marked::Stale);
    assert_eq!(repository.mark(world.now, WAITING).await.unwrap(), Marked::Nothing);
    world.step(0, Step::Wait { hours: 25 }).await;
    world.step(0, Step::Sweep).await;
    world.step(1, Step::Reuse { job: 1, pack: 0 }).await;
    world.step(1, Step::Commit { job: 1 }).await;
    world.check().await;
    assert!(repository.state().await.unwrap().backups.contains_key("002"));
    world.settle().await;
}

#[tokio::test]
async fn what_was_condemned_by_mistake_is_not_swept() {
    let mut world = World::new().await;
    let repository = world.hosts[0].clone();
    world.step(0, Step::Begin { bases: [0, 0], source: 0 }).await;
    world.step(0, Step::Write { job: 0 }).await;
    world.step(0, Step::Begin { bases: [0, 0], source: 1 }).await;
    world.step(0, Step::Commit { job: 0 }).await;
    let pack = world.reach["001"].first().unwrap().clone();
    let list = condemned::List::new(vec![(fake::pack_ref(&pack).path().to_string(), 10)], Vec::new());
    let list = repository.write_list(&list).await.unwrap().to_string();
    let event = Event::Condemn { list, packs: 1, bytes: 10, backups: Vec::new() };
    repository.append(|_| Ok(Some(event.clone()))).await.unwrap();
    world.step(0, Step::Wait { hours: 25 }).await;
    let error = repository.sweep(world.now, WAITING, &Monitor::default()).await.unwrap_err();
    assert!(error.to_string().contains("a bug in ops-backup; nothing was removed"), "{error}");
    world.check().await;
}
