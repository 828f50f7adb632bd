//! Simple rules: what most policies want to say, without Cedar. Each is stored as one canonical Cedar policy.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use burgrave_types::claims::Tee;
use burgrave_types::{EnclaveName, Operation, ParseError, ResourceId, ResourceKind, Segment};
use cedar_policy::Policy;

use crate::cedar::{PREFIX, communicates, resource_type, uses_age};
use crate::error::PolicyError;

/// One simple rule.
///
/// ```
/// use burgrave_policy::{RuleEffect, SimpleRule};
///
/// let rule = SimpleRule::parse(RuleEffect::Allow, "payments/api encrypt,decrypt key/payments/pii max-age=1h")?;
/// assert!(rule.to_cedar().contains(r#"resource == Burgrave::Key::"payments/pii""#));
/// # Ok::<(), burgrave_policy::PolicyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SimpleRule {
    effect: RuleEffect,
    who: Selector,
    operations: Vec<Operation>,
    on: ResourceSelector,
    when: Conditions,
}

/// Whether a rule allows or forbids.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleEffect {
    /// Allows, where nothing forbids.
    Allow,
    /// Forbids, whatever allows.
    Forbid,
}

/// Whom a rule speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Selector {
    /// `payments/api`: the instances of an enclave.
    Enclave(EnclaveName),
    /// `payments/api@1.2.0`: those of one release of it.
    Release(EnclaveName, String),
    /// `payments/*`: those of all enclaves of a namespace.
    Namespace(Segment),
}

/// What a rule speaks of.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ResourceSelector {
    /// `key/payments/pii`: one resource.
    One(ResourceId),
    /// `key/payments/*`: all of a kind in a namespace.
    All(ResourceKind, Segment),
}

/// What must hold besides; what is empty or `None` is not asked for.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Conditions {
    /// `tee=snp,tdx`: the TEE is one of these.
    pub tee: Vec<Tee>,
    /// `max-age=1h`: the attestation is younger than this, in whole seconds. Only for allowing the use of keys and
    /// communication.
    pub max_age: Option<Duration>,
    /// `min-svn=4`: the launch states a security version number, and this one at least. Only for allowing.
    pub min_svn: Option<u64>,
    /// `peer=payments/ledger`: who is on the other side. Only for communication.
    pub peer: Option<Selector>,
}

impl SimpleRule {
    /// A rule of these parts. Operations and TEEs are put in order and counted once.
    ///
    /// # Errors
    /// When the parts do not fit each other, e.g. `decrypt` on a channel.
    pub fn new(
        effect: RuleEffect,
        who: Selector,
        mut operations: Vec<Operation>,
        on: ResourceSelector,
        mut when: Conditions,
    ) -> Result<Self, PolicyError> {
        operations.sort();
        operations.dedup();
        when.tee.sort();
        when.tee.dedup();
        let rule = Self { effect, who, operations, on, when };
        rule.check().map_err(|(word, reason)| PolicyError::one(word, reason))?;
        Ok(rule)
    }

    /// Reads `WHO OPERATION[,OPERATION]… ON [tee=…] [max-age=…] [min-svn=…] [peer=…]`. For communication, ON may be the
    /// receiving enclave instead of its default channel; for `attest`, the enclave.
    ///
    /// # Errors
    /// When a word is not understood or the words do not fit each other.
    pub fn parse(effect: RuleEffect, text: &str) -> Result<Self, PolicyError> {
        let mut words = text.split_whitespace();
        let (Some(who), Some(operations), Some(on)) = (words.next(), words.next(), words.next()) else {
            return Err(PolicyError::one(
                "rule",
                "expected WHO OPERATIONS ON, e.g. `payments/api encrypt,decrypt key/payments/pii`",
            ));
        };
        let at = |word: &'static str| move |error: ParseError| PolicyError::one(word, error.to_string());
        let operations =
            operations.split(',').map(str::parse).collect::<Result<Vec<Operation>, _>>().map_err(at("operations"))?;
        let on = ResourceSelector::parse_for(on, &operations).map_err(at("resource"))?;
        let when = words.try_fold(Conditions::default(), Conditions::with_word)?;
        Self::new(effect, who.parse().map_err(at("who"))?, operations, on, when)
    }

    /// Whether it allows or forbids.
    pub fn effect(&self) -> RuleEffect {
        self.effect
    }

    /// Whom it speaks of.
    pub fn who(&self) -> &Selector {
        &self.who
    }

    /// What they may or may not do: in order, one at least.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// With what.
    pub fn on(&self) -> &ResourceSelector {
        &self.on
    }

    /// What must hold besides.
    pub fn when(&self) -> &Conditions {
        &self.when
    }

    /// The one canonical Cedar policy that says the same.
    pub fn to_cedar(&self) -> String {
        let effect = match self.effect {
            RuleEffect::Allow => "permit",
            RuleEffect::Forbid => "forbid",
        };
        let actions: Vec<String> = self.operations.iter().map(|op| format!("{PREFIX}Action::\"{op}\"")).collect();
        let action = match actions.as_slice() {
            [one] => format!("action == {one}"),
            many => format!("action in [{}]", many.join(", ")),
        };
        let resource = match &self.on {
            ResourceSelector::One(id) => format!("resource == {PREFIX}{}::\"{}\"", resource_type(id.kind), id.name),
            ResourceSelector::All(kind, namespace) => {
                format!("resource is {PREFIX}{} in {PREFIX}Namespace::\"{namespace}\"", resource_type(*kind))
            }
        };
        let conditions = self.when.to_cedar();
        let when = if conditions.is_empty() {
            String::new()
        } else {
            format!("\nwhen {{\n    {}\n}}", conditions.join(" &&\n    "))
        };
        format!(
            "@rule(\"{self}\")\n{effect} (\n    principal in {},\n    {action},\n    {resource}\n){when};",
            self.who.to_cedar()
        )
    }

    /// The rule that `policy` is the canonical form of. The annotation only proposes it: the text must be, letter for
    /// letter, what the rule makes.
    pub(crate) fn of_policy(text: &str, policy: &Policy) -> Option<Self> {
        let (effect, words) = policy.annotation("rule")?.split_once(' ')?;
        let rule = Self::parse(effect.parse().ok()?, words).ok()?;
        (rule.to_cedar() == text.trim()).then_some(rule)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let kind = self.on.kind();
        if self.operations.is_empty() {
            return Err(("operations", "expected one operation at least".to_owned()));
        }
        for operation in &self.operations {
            let fits = match operation {
                Operation::Encrypt | Operation::Decrypt | Operation::Derive => {
                    matches!(kind, ResourceKind::Key | ResourceKind::Keyspace)
                }
                Operation::Send | Operation::Receive => kind == ResourceKind::Channel,
                Operation::Attest => kind == ResourceKind::Enclave,
                Operation::Administer => {
                    let reason = "`administer` is for people, a simple rule speaks of enclaves; write it in Cedar";
                    return Err(("operations", reason.to_owned()));
                }
            };
            if !fits {
                let reason = format!("`{operation}` is nothing that is done with `{}`, a {kind}", self.on);
                return Err(("resource", reason));
            }
        }
        self.check_conditions()
    }

    fn check_conditions(&self) -> Result<(), (&'static str, String)> {
        let when = &self.when;
        if self.effect == RuleEffect::Forbid && (when.max_age.is_some() || when.min_svn.is_some()) {
            let reason = "a forbid holds where its conditions do, so `max-age` and `min-svn` would turn round; \
                          write `forbid … unless { … }` in Cedar";
            return Err(("conditions", reason.to_owned()));
        }
        if let Some(age) = when.max_age {
            if !self.operations.iter().copied().all(uses_age) {
                return Err(("max-age", "only the use of keys and communication have an age".to_owned()));
            }
            if age.as_secs() == 0 || age.subsec_nanos() != 0 || i64::try_from(age.as_secs()).is_err() {
                return Err(("max-age", "expected whole seconds, one at least".to_owned()));
            }
        }
        if when.peer.is_some() && !self.operations.iter().copied().all(communicates) {
            return Err(("peer", "only `send` and `receive` have a peer".to_owned()));
        }
        match when.min_svn {
            Some(svn) if i64::try_from(svn).is_err() => Err(("min-svn", format!("`{svn}` is too large"))),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for SimpleRule {
    /// The words that [`SimpleRule::parse`] reads, with the effect before them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}{}", self.effect, self.who, join(&self.operations), self.on, self.when)
    }
}

impl fmt::Display for RuleEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Forbid => "forbid",
        })
    }
}

impl FromStr for RuleEffect {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text {
            "allow" => Ok(Self::Allow),
            "forbid" => Ok(Self::Forbid),
            _ => Err(ParseError::new("rule's effect", text, "expected `allow` or `forbid`")),
        }
    }
}

impl Selector {
    fn to_cedar(&self) -> String {
        match self {
            Self::Enclave(name) => format!("{PREFIX}Enclave::\"{name}\""),
            Self::Release(..) => format!("{PREFIX}Release::\"{self}\""),
            Self::Namespace(name) => format!("{PREFIX}Namespace::\"{name}\""),
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enclave(name) => name.fmt(f),
            Self::Release(name, release) => write!(f, "{name}@{release}"),
            Self::Namespace(name) => write!(f, "{name}/*"),
        }
    }
}

impl FromStr for Selector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let expected = "expected an enclave `<namespace>/<name>`, a release of it `<namespace>/<name>@<release>`, or \
                        a namespace's `<namespace>/*`";
        let error = |_| ParseError::new("selector of enclaves", text, expected);
        if let Some(namespace) = text.strip_suffix("/*") {
            return namespace.parse().map(Self::Namespace).map_err(error);
        }
        let Some((name, release)) = text.split_once('@') else {
            return text.parse().map(Self::Enclave).map_err(error);
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+');
        if !(1..=63).contains(&release.len()) || !release.bytes().all(plain) {
            return Err(ParseError::new("selector of enclaves", text, expected));
        }
        Ok(Self::Release(name.parse().map_err(error)?, release.to_owned()))
    }
}

impl ResourceSelector {
    /// What kind it speaks of.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::One(id) => id.kind,
            Self::All(kind, _) => *kind,
        }
    }

    /// Reads a selector, where the operations say what an enclave's name alone stands for.
    fn parse_for(text: &str, operations: &[Operation]) -> Result<Self, ParseError> {
        if let Ok(enclave) = text.parse::<EnclaveName>() {
            if !operations.is_empty() && operations.iter().copied().all(communicates) {
                return Ok(Self::One(ResourceId::default_channel(&enclave)));
            }
            if operations == [Operation::Attest] {
                return format!("enclave/{enclave}").parse();
            }
        }
        text.parse()
    }
}

impl fmt::Display for ResourceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(id) => id.fmt(f),
            Self::All(kind, namespace) => write!(f, "{kind}/{namespace}/*"),
        }
    }
}

impl FromStr for ResourceSelector {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.strip_suffix("/*").and_then(|rest| rest.split_once('/')) {
            Some((kind, namespace)) => Ok(Self::All(kind.parse()?, namespace.parse()?)),
            None => text.parse().map(Self::One),
        }
    }
}

impl Conditions {
    /// These conditions and the one that `word` says, e.g. `max-age=1h`.
    fn with_word(mut self, word: &str) -> Result<Self, PolicyError> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let fault = |reason: String| PolicyError::one(name, reason);
        match name {
            "tee" => {
                let tees: Result<Vec<Tee>, _> = value.split(',').map(str::parse).collect();
                self.tee = tees.map_err(|error| fault(error.to_string()))?;
            }
            "max-age" => self.max_age = Some(parse_age(value).map_err(|error| fault(error.to_string()))?),
            "min-svn" => {
                let svn = value.parse().map_err(|_| fault(format!("`{value}` is not a number")))?;
                self.min_svn = Some(svn);
            }
            "peer" => self.peer = Some(value.parse().map_err(|error: ParseError| fault(error.to_string()))?),
            _ => return Err(fault(format!("`{word}` is no condition: expected tee=, max-age=, min-svn= or peer="))),
        }
        Ok(self)
    }

    fn to_cedar(&self) -> Vec<String> {
        let mut conditions = Vec::new();
        match self.tee.as_slice() {
            [] => {}
            [one] => conditions.push(format!("principal.att.tee == {PREFIX}Tee::\"{one}\"")),
            many => {
                let tees: Vec<String> = many.iter().map(|tee| format!("{PREFIX}Tee::\"{tee}\"")).collect();
                conditions.push(format!("[{}].contains(principal.att.tee)", tees.join(", ")));
            }
        }
        if let Some(age) = self.max_age {
            conditions.push(format!("context.attAgeSecs < {}", age.as_secs()));
        }
        if let Some(svn) = self.min_svn {
            conditions.push("principal.att has svn".to_owned());
            conditions.push(format!("principal.att.svn >= {svn}"));
        }
        if let Some(peer) = &self.peer {
            conditions.push(format!("context.peer in {}", peer.to_cedar()));
        }
        conditions
    }
}

impl fmt::Display for Conditions {
    /// Each condition as a word with a space before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.tee.is_empty() {
            write!(f, " tee={}", join(&self.tee))?;
        }
        if let Some(age) = self.max_age {
            write!(f, " max-age={}", show_age(age))?;
        }
        if let Some(svn) = self.min_svn {
            write!(f, " min-svn={svn}")?;
        }
        if let Some(peer) = &self.peer {
            write!(f, " peer={peer}")?;
        }
        Ok(())
    }
}

fn join<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(",")
}

/// The units of an age, largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

fn parse_age(text: &str) -> Result<Duration, ParseError> {
    let error = || ParseError::new("duration", text, "expected a number and a unit, e.g. `30s`, `15m`, `1h`, `7d`");
    let (unit, secs) = UNITS.into_iter().find(|(unit, _)| text.ends_with(*unit)).ok_or_else(error)?;
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(error)?;
    count.checked_mul(secs).map(Duration::from_secs).ok_or_else(error)
}

fn show_age(age: Duration) -> String {
    let secs = age.as_secs();
    let (unit, size) = UNITS.into_iter().find(|(_, size)| secs.is_multiple_of(*size)).unwrap_or(('s', 1));
    format!("{}{unit}", secs / size)
}
