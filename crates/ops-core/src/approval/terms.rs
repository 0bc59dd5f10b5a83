//! What an approval says, and how that stands in an evidence record.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rand::TryRng as _;
use serde::{Deserialize, Serialize};

use super::request::ApprovalRequest;
use super::scope::{EffectClass, Kind, Scope};
use crate::error::{Error, ErrorKind};
use crate::guard::Limits;

/// The longest time from signing to expiry.
pub const MAX_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The version of the attributes. A reader refuses every other one: a restriction that it does not know would be lost.
const VERSION: &str = "1";

/// The longest name, reason or ticket.
const MAX_CHARS: usize = 1_000;

/// The number that makes an approval usable once: 128 random bits in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct ApprovalId(String);

impl ApprovalId {
    /// Makes an id from the operating system's random numbers.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] where the system has no random numbers to give.
    pub fn generate() -> Result<Self, Error> {
        let mut bytes = [0; 16];
        rand::rngs::SysRng.try_fill_bytes(&mut bytes).map_err(|error| {
            Error::new(ErrorKind::Io, "cannot get random numbers for an approval").caused_by(error)
        })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Makes an id from 128 bits that the caller drew.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(format!("{:032x}", u128::from_be_bytes(bytes)))
    }

    /// Returns the 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for ApprovalId {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        if is_lower_hex(&text, 32) { Ok(Self(text)) } else { Err(malformed("id")) }
    }
}

/// What an approval says. Whoever holds it knows the words, not that somebody stands behind them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Terms {
    /// Makes it usable once.
    pub id: ApprovalId,
    /// What it permits.
    pub scope: Scope,
    /// Who says to have signed.
    pub approver: String,
    /// The role that may use it.
    pub principal: String,
    /// The one database in which it holds; none for all.
    pub database: Option<String>,
    /// Why.
    pub reason: String,
    /// Where the matter is discussed.
    pub ticket: String,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// The time from which on it holds.
    pub not_before: Timestamp,
    /// The time from which on it does not hold any more.
    pub expires_at: Timestamp,
    /// How much the statement may change.
    pub limits: Limits,
}

impl Terms {
    /// Fills in a request; [`Terms::check`] has not been asked yet.
    pub(super) fn of(
        request: &ApprovalRequest,
        approver: &str,
        issued_at: Timestamp,
        id: ApprovalId,
    ) -> Result<Self, Error> {
        let expires_at = issued_at
            .checked_add(request.expires_in)
            .map_err(|error| invalid("approval has an expiry that is no time").caused_by(error))?;
        Ok(Self {
            id,
            scope: request.scope.clone(),
            approver: approver.to_owned(),
            principal: request.principal.clone(),
            database: request.database.clone(),
            reason: request.reason.clone(),
            ticket: request.ticket.clone(),
            issued_at,
            not_before: request.not_before.unwrap_or(issued_at),
            expires_at,
            limits: request.limits,
        })
    }

    /// Checks what no honest approval breaks, whoever signed it: said names and reasons, and a bounded time.
    pub(super) fn check(&self) -> Result<(), Error> {
        let database = self.database.as_deref();
        let texts = [
            ("approver", Some(self.approver.as_str())),
            ("principal", Some(self.principal.as_str())),
            ("database", database),
            ("reason", Some(self.reason.as_str())),
            ("ticket", Some(self.ticket.as_str())),
        ];
        for (name, text) in texts {
            let Some(text) = text else { continue };
            if text.trim().is_empty() {
                return Err(invalid(format!("approval has an empty {name}")));
            }
            if text.chars().count() > MAX_CHARS || text.chars().any(char::is_control) {
                let message =
                    format!("approval has a {name} with control characters or over {MAX_CHARS} characters");
                return Err(invalid(message));
            }
        }
        if is_same_person(&self.approver, &self.principal) {
            let message = format!("approval by {:?} for the same name", self.approver);
            return Err(Error::new(ErrorKind::SelfApproval, message));
        }
        let lifetime = self.expires_at.duration_since(self.issued_at);
        if self.not_before < self.issued_at || self.expires_at <= self.not_before {
            return Err(invalid("approval ends before it begins, or begins before it was signed"));
        }
        if lifetime.unsigned_abs() > MAX_LIFETIME {
            return Err(invalid("approval lasts longer than 24 hours"));
        }
        Ok(())
    }

    pub(super) fn to_attributes(&self) -> BTreeMap<String, String> {
        let mut attributes: BTreeMap<String, String> = BTreeMap::new();
        let mut put = |name: &str, value: String| attributes.insert(name.to_owned(), value);
        put("version", VERSION.to_owned());
        put("id", self.id.to_string());
        put("approver", self.approver.clone());
        put("principal", self.principal.clone());
        put("reason", self.reason.clone());
        put("ticket", self.ticket.clone());
        put("not_before", self.not_before.to_string());
        put("expires_at", self.expires_at.to_string());
        if let Some(database) = &self.database {
            put("database", database.clone());
        }
        match &self.scope.0 {
            Kind::Statement { sha256, redacted } => {
                put("scope", "statement".to_owned());
                put("statement_sha256", sha256.clone());
                put("statement", redacted.clone());
            }
            Kind::Table { table, effect } => {
                put("scope", "table".to_owned());
                put("table", table.clone());
                put("effect", effect.name().to_owned());
            }
            Kind::Session => {
                put("scope", "session".to_owned());
            }
        }
        let limits = &self.limits;
        for (name, limit) in LIMITS.into_iter().zip([limits.rows, limits.rows_per_table, limits.tables]) {
            if let Some(limit) = limit {
                put(name, limit.to_string());
            }
        }
        attributes
    }

    /// Reads attributes; one that is missing, malformed or not known makes the whole invalid.
    pub(super) fn from_attributes(
        mut attributes: BTreeMap<String, String>,
        issued_at: Timestamp,
    ) -> Result<Self, Error> {
        let mut take = |name: &'static str| attributes.remove(name);
        let mut required = |name: &'static str| take(name).ok_or_else(|| malformed(name));
        let version = required("version")?;
        if version != VERSION {
            return Err(invalid(format!("approval has the version {version:?}; known is {VERSION:?}")));
        }
        let time = |name, text: String| text.parse::<Timestamp>().map_err(|_| malformed(name));
        let scope = match required("scope")?.as_str() {
            "statement" => {
                let sha256 = required("statement_sha256")?;
                if !is_lower_hex(&sha256, 64) {
                    return Err(malformed("statement_sha256"));
                }
                Scope(Kind::Statement { sha256, redacted: required("statement")? })
            }
            "table" => {
                let effect = EffectClass::by_name(&required("effect")?).ok_or_else(|| malformed("effect"))?;
                Scope::table(&required("table")?, effect)?
            }
            "session" => Scope::session(),
            _ => return Err(malformed("scope")),
        };
        let mut terms = Self {
            id: required("id")?.try_into()?,
            scope,
            approver: required("approver")?,
            principal: required("principal")?,
            database: None,
            reason: required("reason")?,
            ticket: required("ticket")?,
            issued_at,
            not_before: time("not_before", required("not_before")?)?,
            expires_at: time("expires_at", required("expires_at")?)?,
            limits: Limits::default(),
        };
        terms.database = take("database");
        let limits = &mut terms.limits;
        for (name, limit) in
            LIMITS.into_iter().zip([&mut limits.rows, &mut limits.rows_per_table, &mut limits.tables])
        {
            *limit = take(name).map(|text| text.parse().map_err(|_| malformed(name))).transpose()?;
        }
        match attributes.keys().next() {
            Some(name) => Err(invalid(format!("approval has the attribute {name:?}, which is not known"))),
            None => Ok(terms),
        }
    }
}

const LIMITS: [&str; 3] = ["rows", "rows_per_table", "tables"];

/// Tells whether two names are one person's. Case does not count: `Alice` must not approve for `alice`.
pub(super) fn is_same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidApproval, message)
}

fn malformed(name: &str) -> Error {
    invalid(format!("approval has no usable {name}"))
}

fn is_lower_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
