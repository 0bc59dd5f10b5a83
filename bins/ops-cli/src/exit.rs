//! The exit codes, one table for every binary.

/// How a command ended. DESIGN's table, and the only place where its numbers stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// Done, and proven.
    Done,
    /// The answer is no: denied, blocked, found, does not verify.
    No,
    /// A check errored or was inconclusive.
    Unjudged,
    /// Nothing was checked.
    Nothing,
    /// The command line is wrong.
    Usage,
    /// Bad input: a plan, a policy, an SQL file, a manifest.
    Input,
    /// A service that it needs does not answer.
    Unavailable,
    /// A bug of ours.
    Bug,
    /// An output cannot be created.
    CannotCreate,
    /// Reading or writing failed, or evidence was not written.
    Io,
    /// Busy or temporary: try again.
    Busy,
    /// The configuration is wrong.
    Config,
    /// Stopped by SIGINT.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
    /// `wal fetch` alone: the segment is proven absent.
    WalAbsent,
    /// `wal fetch` alone: recovery must stop instead of ending early.
    WalFailed,
    /// `ops-secrets exec` alone: what its child ended with.
    Child(u8),
}

impl Exit {
    /// Every exit of our own, in the order of its number.
    pub const ALL: [Exit; 16] = [
        Exit::Done,
        Exit::WalAbsent,
        Exit::No,
        Exit::Unjudged,
        Exit::Nothing,
        Exit::Usage,
        Exit::Input,
        Exit::Unavailable,
        Exit::Bug,
        Exit::CannotCreate,
        Exit::Io,
        Exit::Busy,
        Exit::Config,
        Exit::WalFailed,
        Exit::Interrupted,
        Exit::Terminated,
    ];

    /// The number that the shell sees.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::WalAbsent => 1,
            Exit::No => 20,
            Exit::Unjudged => 21,
            Exit::Nothing => 22,
            Exit::Usage => 64,
            Exit::Input => 65,
            Exit::Unavailable => 69,
            Exit::Bug => 70,
            Exit::CannotCreate => 73,
            Exit::Io => 74,
            Exit::Busy => 75,
            Exit::Config => 78,
            Exit::WalFailed => 126,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
            Exit::Child(code) => code,
        }
    }

    /// What the number means, for `--help` and the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done, and proven",
            Exit::WalAbsent => "wal fetch only: the file is proven absent from the archive",
            Exit::No => "the answer is no: denied, blocked, found, does not verify",
            Exit::Unjudged => "could not judge: a check errored or was inconclusive",
            Exit::Nothing => "nothing was checked",
            Exit::Usage => "wrong usage",
            Exit::Input => "bad input: plan, policy, SQL file, manifest",
            Exit::Unavailable => "a service it needs does not answer",
            Exit::Bug => "a bug of ours",
            Exit::CannotCreate => "cannot create output",
            Exit::Io => "I/O error, or evidence not written",
            Exit::Busy => "busy or temporary: try again",
            Exit::Config => "configuration is wrong",
            Exit::WalFailed => "wal fetch only: failed, recovery must stop",
            Exit::Interrupted => "interrupted",
            Exit::Terminated => "terminated",
            Exit::Child(_) => "ops-secrets exec only: the exit code of the command",
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit.code())
    }
}
