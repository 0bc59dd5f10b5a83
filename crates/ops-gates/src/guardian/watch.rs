//! What a guardian does: it listens until the pipe ends, and then carries out what is left to do.
//!
//! The processes of a run are told by the mark in their environment. One that has hidden it is known where its parents
//! are, or where it was seen below the runner by a look every now and then; or it is in the control group of the run,
//! from which nothing escapes. Order of steps: the processes are stopped, so that none has a child unseen; asked to end;
//! killed; then a fault is taken back; the report last.

use super::{Order, STANDING};
use crate::action::{Action, Log};
use crate::error::{Error, ErrorKind};
use crate::process::{self, KILL_PATIENCE, Kin, Process};
use jiff::Timestamp;
use rustix::process::Signal;
use serde::Serialize;
use std::collections::HashSet;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// How often the processes below the runner are looked at. One that is born, hides everything and loses its parents
/// within that time, just before the runner is killed, is not found where there is no control group.
const LOOK: Duration = Duration::from_millis(100);

/// How long nothing must have been found before all is over. A program that was just being started carries no mark until
/// then.
const QUIET: Duration = Duration::from_millis(250);

/// How often it is looked for what still runs.
const PAUSE: Duration = Duration::from_millis(10);

/// How long a command that brings a fault about is waited for.
const INJECTION: Duration = Duration::from_secs(60);

/// Stands guard over the program that holds the other end of `orders`, and returns when there is nothing left to do.
///
/// For a process that does nothing else: it leaves its session, so that neither a key nor the end of a terminal reaches
/// it, and calls itself `gate-guardian`.
///
/// # Errors
/// [`ErrorKind::NoGuardian`] where an order cannot be understood, or the report not be written.
pub fn stand_guard(orders: impl BufRead + Send + 'static, mut answer: impl Write) -> Result<(), Error> {
    let cannot =
        |error: std::io::Error| Error::new(ErrorKind::NoGuardian, "cannot stand guard").because(error);
    // It fails only for the leader of a group, which nobody else shares then.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"gate-guardian");
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || orders.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    answer.write_all(STANDING).and_then(|()| answer.flush()).map_err(cannot)?;
    let Ok(report) = lines.recv() else { return Ok(()) };
    let mut duty = Duty { report: parse(&report)?, ..Duty::default() };
    loop {
        let look = duty.run.as_ref().is_some_and(|run| run.group.is_none());
        match lines.recv_timeout(if look { LOOK } else { Duration::from_secs(3600) }) {
            Ok(line) => match parse(&line)? {
                Order::Done => return Ok(()),
                order => duty.note(order),
            },
            Err(RecvTimeoutError::Timeout) => duty.look(),
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    duty.carry_out().map_err(cannot)
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, Error> {
    serde_json::from_str(line)
        .map_err(|error| Error::new(ErrorKind::NoGuardian, "an order cannot be understood").because(error))
}

/// What is to be done.
#[derive(Default)]
struct Duty {
    report: PathBuf,
    run: Option<Run>,
    undo: Option<Undo>,
}

struct Undo {
    action: Action,
    directory: PathBuf,
    injection: String,
}

struct Run {
    id: String,
    runner: u32,
    born: u64,
    grace: Duration,
    adopts: bool,
    kin: Kin,
    group: Option<PathBuf>,
}

/// What was done, for people.
#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_id: Option<&'a str>,
    processes_ended: usize,
    survivors: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken_back: Option<TakenBack>,
}

#[derive(Serialize)]
struct TakenBack {
    done: Option<String>,
    error: Option<String>,
}

impl Duty {
    fn note(&mut self, order: Order) {
        match order {
            Order::Watch { run, runner, born, grace_milliseconds, adopts } => {
                let (kin, grace) = (Kin::of_run(run.clone()), Duration::from_millis(grace_milliseconds));
                self.run = Some(Run { id: run, runner, born, grace, adopts, kin, group: None });
            }
            Order::Group(path) => {
                if let Some(run) = &mut self.run {
                    run.group = Some(path);
                }
            }
            Order::TakeBack { action, directory, injection } => {
                self.undo = Some(Undo { action, directory, injection });
            }
            Order::TakenBack => self.undo = None,
            Order::Done => {}
        }
    }

    fn look(&mut self) {
        if let Some(run) = &mut self.run {
            run.look();
        }
    }

    fn carry_out(mut self) -> std::io::Result<()> {
        if self.run.is_none() && self.undo.is_none() {
            return Ok(());
        }
        let (processes_ended, survivors) = self.run.as_mut().map_or((0, 0), Run::end);
        let taken_back = self.undo.take().map(|undo| undo.carry_out());
        let run_id = self.run.as_ref().map(|run| run.id.as_str());
        let schema = "ops-gates/guardian/v1";
        let at = Timestamp::now();
        let mut bytes = serde_json::to_vec_pretty(&Report {
            schema,
            at,
            run_id,
            processes_ended,
            survivors,
            taken_back,
        })?;
        bytes.push(b'\n');
        let mut file = std::fs::File::create(&self.report)?;
        file.write_all(&bytes)?;
        file.sync_all()
    }
}

impl Undo {
    fn carry_out(&self) -> TakenBack {
        // A command that brings the fault about may still run; taken back before, it would come after.
        let began = Instant::now();
        while began.elapsed() < INJECTION && !process::leaders_of(&self.injection).is_empty() {
            std::thread::sleep(PAUSE);
        }
        // Nobody can mask here what a command writes, so that it is not kept.
        let error = self.action.carry_out(&self.directory, &Log::default()).err();
        TakenBack { done: self.action.by_hand(), error }
    }
}

impl Run {
    /// Notes who runs now, so that it is known also when its parents are gone.
    fn look(&mut self) {
        let Some(runner) = Process::find(self.runner).filter(|runner| runner.born == self.born) else {
            return;
        };
        for child in children(&runner) {
            // What the runner adopted belongs as well. Its own helpers stay in its group, or have another mark.
            let adopted =
                || self.adopts && child.group != runner.group && !process::is_foreign(child.pid, &self.id);
            if process::belongs_to(child.pid, &self.id) || adopted() {
                self.kin.note(&child);
                below(&child).iter().for_each(|process| self.kin.note(process));
            }
        }
    }

    /// Asks every process to end, and kills what has not after the grace. Returns how many there were, and how many are
    /// still there.
    fn end(&mut self) -> (usize, usize) {
        let mut seen = HashSet::new();
        let began = Instant::now();
        for process in self.freeze(&mut seen) {
            let _ = process::signal(&process, Signal::TERM);
            let _ = process::signal(&process, Signal::CONT);
        }
        while began.elapsed() < self.grace && !self.members().is_empty() {
            std::thread::sleep(PAUSE);
        }
        let (began, mut found) = (Instant::now(), Instant::now());
        loop {
            let left = self.freeze(&mut seen);
            if !left.is_empty() {
                found = Instant::now();
            } else if found.elapsed() >= QUIET || self.group.is_some() {
                break;
            }
            if began.elapsed() >= KILL_PATIENCE {
                break;
            }
            for process in left {
                let _ = process::signal(&process, Signal::KILL);
            }
            self.end_group();
            std::thread::sleep(PAUSE);
        }
        self.end_group();
        (seen.len(), self.members().len())
    }

    /// Has the kernel end the group, unless the runner lives and is still in it: it only dropped the run.
    fn end_group(&self) {
        if let Some(group) = &self.group
            && !process::members_of_group(group).iter().any(|process| self.is_runner(process))
        {
            process::end_group(group);
        }
    }

    fn is_runner(&self, process: &Process) -> bool {
        process.pid == self.runner && process.born == self.born
    }

    /// Stops every process, until there is none that does not stand still: one that ended between a look and the next could
    /// leave a child behind that nobody knows.
    fn freeze(&mut self, seen: &mut HashSet<(u32, u64)>) -> Vec<Process> {
        let began = Instant::now();
        let mut frozen = HashSet::new();
        loop {
            let members = self.members();
            let mut is_new = false;
            for process in &members {
                seen.insert((process.pid, process.born));
                if frozen.insert((process.pid, process.born)) {
                    is_new = process::signal(process, Signal::STOP).is_ok() || is_new;
                }
            }
            if !is_new || began.elapsed() >= KILL_PATIENCE {
                return members;
            }
        }
    }

    fn members(&mut self) -> Vec<Process> {
        for process in self.group.iter().flat_map(|group| process::members_of_group(group)) {
            if !self.is_runner(&process) {
                self.kin.note(&process);
            }
        }
        self.kin.members()
    }
}

/// All processes below one.
fn below(process: &Process) -> Vec<Process> {
    let children = children(process);
    children.iter().flat_map(below).chain(children.iter().copied()).collect()
}

/// The children of exactly this process.
fn children(process: &Process) -> Vec<Process> {
    let listed = process::children(process.pid).unwrap_or_default();
    let found = listed.into_iter().filter_map(Process::find).filter(|child| child.parent == process.pid);
    let found = found.collect();
    // The list is that of the process only if it is still there.
    let is_there = Process::find(process.pid).is_some_and(|now| now.born == process.born);
    if is_there { found } else { Vec::new() }
}
