//! The objects of a catalog, and what is known of the code behind them.

use std::sync::OnceLock;

use super::Oid;
use crate::guard::effect::{Effect, Operation};

/// A table, view, index, sequence or composite type.
#[derive(Clone, Debug, Default)]
pub(in crate::guard) struct Relation {
    pub(in crate::guard) schema: String,
    /// The name with its schema, quoted where SQL needs it.
    pub(in crate::guard) title: String,
    /// As `pg_class.relkind` has it.
    pub(in crate::guard) kind: char,
    /// The table that an index or a TOAST table belongs to.
    pub(in crate::guard) table: Option<Oid>,
    /// Partitions and inheritors.
    pub(in crate::guard) children: Vec<Oid>,
    /// The one relation that a view selects from, to which its rows are written.
    pub(in crate::guard) base: Option<Oid>,
    pub(in crate::guard) triggers: Vec<Trigger>,
    pub(in crate::guard) rules: Vec<Rule>,
    /// The foreign keys that refer to it.
    pub(in crate::guard) foreign_keys: Vec<ForeignKey>,
    /// What its row security runs.
    pub(in crate::guard) policies: Vec<Use>,
    /// What its defaults, generated columns, checks and index expressions run.
    pub(in crate::guard) expressions: Vec<Use>,
}

/// A trigger that fires in an ordinary session.
#[derive(Clone, Debug)]
pub(in crate::guard) struct Trigger {
    pub(in crate::guard) name: String,
    pub(in crate::guard) events: TriggerEvents,
    /// Its function, and what its condition runs.
    pub(in crate::guard) uses: Vec<Use>,
}

/// The bits of `pg_trigger.tgtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::guard) struct TriggerEvents(pub(in crate::guard) i16);

impl TriggerEvents {
    pub(in crate::guard) fn fires_on(self, access: Access) -> bool {
        let bit = match access {
            Access::Insert => 4,
            Access::Delete => 8,
            Access::Update => 16,
            Access::Truncate => 32,
            Access::Read | Access::Refresh => 0,
        };
        self.0 & bit != 0
    }

    pub(in crate::guard) fn is_instead(self) -> bool {
        self.0 & 64 != 0
    }
}

/// A rewrite rule; that of a view is the one on `SELECT`.
#[derive(Clone, Debug, Default)]
pub(in crate::guard) struct Rule {
    pub(in crate::guard) name: String,
    /// As `pg_rewrite.ev_type` has it: 1 is SELECT, 2 UPDATE, 3 INSERT, 4 DELETE.
    pub(in crate::guard) event: char,
    pub(in crate::guard) is_instead: bool,
    /// `CREATE RULE …`, with every name qualified.
    pub(in crate::guard) text: String,
    /// What it runs without naming it.
    pub(in crate::guard) uses: Vec<Use>,
    /// None where it cannot be read.
    pub(in crate::guard) summary: OnceLock<Option<Summary>>,
}

impl Rule {
    pub(in crate::guard) fn fires_on(&self, access: Access) -> bool {
        let event = match access {
            Access::Read | Access::Refresh => '1',
            Access::Update => '2',
            Access::Insert => '3',
            Access::Delete => '4',
            Access::Truncate => return false,
        };
        self.event == event
    }
}

/// A foreign key, as the table that it refers to sees it.
#[derive(Clone, Debug)]
pub(in crate::guard) struct ForeignKey {
    pub(in crate::guard) name: String,
    /// The table with the key.
    pub(in crate::guard) child: Oid,
    /// As `pg_constraint.confdeltype` has it: `c` cascades, `n` and `d` set NULL or the default.
    pub(in crate::guard) on_delete: char,
    /// As `pg_constraint.confupdtype` has it.
    pub(in crate::guard) on_update: char,
}

impl ForeignKey {
    /// Returns what is done to the rows of the child when rows of the parent are accessed so.
    pub(in crate::guard) fn follows(&self, access: Access) -> Option<Access> {
        match (access, self.on_delete, self.on_update) {
            (Access::Delete, 'c', _) => Some(Access::Delete),
            (Access::Delete, 'n' | 'd', _) | (Access::Update, _, 'c' | 'n' | 'd') => Some(Access::Update),
            _ => None,
        }
    }
}

/// A function, procedure or aggregate that did not come with the server.
#[derive(Clone, Debug, Default)]
pub(in crate::guard) struct Function {
    pub(in crate::guard) schema: String,
    /// The name with its schema, quoted where SQL needs it.
    pub(in crate::guard) title: String,
    /// The types of its arguments, for messages.
    pub(in crate::guard) signature: String,
    pub(in crate::guard) arguments: usize,
    /// How many of them may be left out.
    pub(in crate::guard) defaults: usize,
    pub(in crate::guard) is_variadic: bool,
    /// Whether its first argument may be a row, so that it can be called as if it were a column.
    pub(in crate::guard) takes_row: bool,
    /// Whether the number of arguments in a call says nothing: aggregates, procedures.
    pub(in crate::guard) takes_any_number: bool,
    pub(in crate::guard) is_volatile: bool,
    pub(in crate::guard) is_security_definer: bool,
    /// `name=value`, as `pg_proc.proconfig` has it.
    pub(in crate::guard) settings: Vec<String>,
    pub(in crate::guard) body: Body,
    /// What it runs without naming it: the functions of an aggregate, the defaults of arguments.
    pub(in crate::guard) uses: Vec<Use>,
    /// None where it cannot be read.
    pub(in crate::guard) summary: OnceLock<Option<Summary>>,
}

impl Function {
    /// Tells whether it can be called with so many arguments.
    pub(in crate::guard) fn takes(&self, count: usize) -> bool {
        let least = self.arguments - self.defaults.min(self.arguments);
        self.takes_any_number
            || (least..=self.arguments).contains(&count)
            || self.is_variadic && count + 1 >= least
    }
}

/// How a function says what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::guard) enum Body {
    /// It only computes, as its extension is known for.
    Harmless,
    /// Statements in SQL.
    Sql(String),
    /// A body of the SQL standard: `BEGIN ATOMIC … END` or `RETURN …`.
    Standard(String),
    /// A block of PL/pgSQL.
    Plpgsql(String),
    /// A language that nothing here reads.
    #[default]
    Unreadable,
}

/// An operator that did not come with the server.
#[derive(Clone, Debug)]
pub(in crate::guard) struct Operator {
    pub(in crate::guard) schema: String,
    /// Whether it stands before its one operand.
    pub(in crate::guard) is_prefix: bool,
    pub(in crate::guard) function: Oid,
}

/// A type that did not come with the server.
#[derive(Clone, Debug, Default)]
pub(in crate::guard) struct Type {
    pub(in crate::guard) schema: String,
    pub(in crate::guard) title: String,
    /// What making a value of it runs: its checks, its defaults, casts to it.
    pub(in crate::guard) makes: Vec<Use>,
    /// What a cast from it runs.
    pub(in crate::guard) leaves: Vec<Use>,
}

/// Code that an object runs without its being named in a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::guard) enum Use {
    Function(Oid),
    Type(Oid),
}

/// What is done to a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::guard) enum Access {
    Read,
    Insert,
    Update,
    Delete,
    Truncate,
    /// Builds it anew: fills a materialized view, computes the keys of indexes.
    Refresh,
}

impl From<Operation> for Access {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Insert => Self::Insert,
            Operation::Update => Self::Update,
            Operation::Delete => Self::Delete,
        }
    }
}

impl Access {
    pub(in crate::guard) fn operation(self) -> Option<Operation> {
        match self {
            Self::Insert => Some(Operation::Insert),
            Self::Update => Some(Operation::Update),
            Self::Delete => Some(Operation::Delete),
            Self::Read | Self::Truncate | Self::Refresh => None,
        }
    }
}

/// Something that a text names, and behind which there may be code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::guard) enum Reference {
    Relation(Oid, Access),
    Function(Oid),
    /// A value of this type is made.
    Makes(Oid),
}

/// What a body says by itself; what is behind the names in it is found when it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::guard) struct Summary {
    pub(in crate::guard) effects: Vec<Effect>,
    pub(in crate::guard) references: Vec<Reference>,
}
