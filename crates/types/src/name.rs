//! Names that people give: trust domains, namespaces, enclaves, resources, and their SPIFFE form.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ParseError;

/// Implements text-shaped serde for a type that has `Display` and `FromStr`.
macro_rules! text_serde {
    ($name:ty) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_serde;

/// One part of a name: a namespace, or what is named in it. 1 to 63 characters `a-z`, `0-9`, `-`, `_`, `.`, the first
/// and last a letter or digit; so it stands in URIs, file names and Cedar ids without escaping.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment(Box<str>);

impl Segment {
    const EXPECTED: &'static str =
        "expected 1 to 63 characters a-z, 0-9, `-`, `_` or `.`, the first and last a letter or digit";

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn is_valid(text: &str) -> bool {
        let edge = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = text.as_bytes();
        (1..=63).contains(&bytes.len())
            && edge(bytes.first())
            && edge(bytes.last())
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
    }
}

impl FromStr for Segment {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if Self::is_valid(text) { Ok(Self(text.into())) } else { Err(ParseError::new("name", text, Self::EXPECTED)) }
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(Segment);

/// A trust domain (SPIFFE-ID section 2.1): 1 to 255 characters `a-z`, `0-9`, `-`, `_`, `.`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Box<str>);

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
        if (1..=255).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError::new(
                "trust domain",
                text,
                "expected 1 to 255 characters a-z, 0-9, `-`, `_` or `.`, e.g. `example.org`",
            ))
        }
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(TrustDomain);

/// The name of an enclave: `<namespace>/<name>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnclaveName {
    namespace: Segment,
    name: Segment,
}

impl EnclaveName {
    /// The enclave called `name` in `namespace`.
    pub fn new(namespace: Segment, name: Segment) -> Self {
        Self { namespace, name }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Segment {
        &self.namespace
    }

    /// The name inside the namespace.
    pub fn name(&self) -> &Segment {
        &self.name
    }

    /// The SPIFFE id that this enclave bears in `domain`.
    pub fn spiffe_id(&self, domain: &TrustDomain) -> SpiffeId {
        SpiffeId { domain: domain.clone(), path: self.to_string() }
    }
}

impl FromStr for EnclaveName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("enclave name", text, "expected `<namespace>/<name>`, e.g. `payments/api`");
        let (namespace, name) = text.split_once('/').ok_or_else(error)?;
        Ok(Self { namespace: namespace.parse().map_err(|_| error())?, name: name.parse().map_err(|_| error())? })
    }
}

impl fmt::Display for EnclaveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for EnclaveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(EnclaveName);

/// The name of a resource inside its kind: `<namespace>/<name>`, with further `/`-separated parts where the kind has
/// them (`payments/ledger/default` for a channel).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    namespace: Segment,
    rest: Vec<Segment>,
}

impl ResourceName {
    /// Parts after the namespace, at most.
    pub const MAX_PARTS: usize = 8;

    /// The resource called `name` in `namespace`.
    pub fn new(namespace: Segment, name: Segment) -> Self {
        Self { namespace, rest: vec![name] }
    }

    /// `<namespace>/<enclave>/default`, the name of the channel on which `enclave` receives.
    pub(crate) fn default_channel(enclave: &EnclaveName) -> Self {
        let default = Segment("default".into());
        Self { namespace: enclave.namespace.clone(), rest: vec![enclave.name.clone(), default] }
    }

    /// The namespace.
    pub fn namespace(&self) -> &Segment {
        &self.namespace
    }

    /// The parts after the namespace: one at least.
    pub fn parts(&self) -> &[Segment] {
        &self.rest
    }
}

impl FromStr for ResourceName {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("resource name", text, "expected `<namespace>/<name>`, e.g. `payments/pii`");
        let mut parts = text.split('/').map(|part| part.parse::<Segment>().map_err(|_| error()));
        let namespace = parts.next().ok_or_else(error)??;
        let rest = parts.collect::<Result<Vec<_>, _>>()?;
        if (1..=Self::MAX_PARTS).contains(&rest.len()) { Ok(Self { namespace, rest }) } else { Err(error()) }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.namespace)?;
        self.rest.iter().try_for_each(|part| write!(f, "/{part}"))
    }
}

impl fmt::Debug for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(ResourceName);

/// A SPIFFE id, `spiffe://<trust domain>/<path>` (SPIFFE-ID section 2): at most 2048 bytes, no query, no empty part.
///
/// Enclaves bear `spiffe://<domain>/<namespace>/<name>`; nodes and administrators live under `/burgrave/`, which is no
/// namespace an enclave can have (see [`SpiffeId::enclave`]).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    domain: TrustDomain,
    path: String,
}

impl SpiffeId {
    /// The first path part that is kept for nodes and administrators.
    pub const RESERVED: &'static str = "burgrave";

    /// The id of a node: `spiffe://<domain>/burgrave/node/<id>`.
    pub fn node(domain: &TrustDomain, node: crate::NodeId) -> Self {
        Self { domain: domain.clone(), path: format!("{}/node/{node}", Self::RESERVED) }
    }

    /// The id of an administrator: `spiffe://<domain>/burgrave/admin/<name>`.
    pub fn admin(domain: &TrustDomain, name: &Segment) -> Self {
        Self { domain: domain.clone(), path: format!("{}/admin/{name}", Self::RESERVED) }
    }

    /// The trust domain.
    pub fn domain(&self) -> &TrustDomain {
        &self.domain
    }

    /// The path without its leading `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The enclave that this id names, where it names one.
    pub fn enclave(&self) -> Option<EnclaveName> {
        let name: EnclaveName = self.path.parse().ok()?;
        (name.namespace().as_str() != Self::RESERVED).then_some(name)
    }

    /// The administrator that this id names, where it names one.
    pub fn administrator(&self) -> Option<Segment> {
        self.path.strip_prefix(Self::RESERVED)?.strip_prefix("/admin/")?.parse().ok()
    }

    /// The node that this id names, where it names one.
    pub fn node_id(&self) -> Option<crate::NodeId> {
        self.path.strip_prefix(Self::RESERVED)?.strip_prefix("/node/")?.parse().ok()
    }
}

impl FromStr for SpiffeId {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("SPIFFE id", text, "expected `spiffe://<trust domain>/<path>`");
        let (domain, path) = text.strip_prefix("spiffe://").and_then(|rest| rest.split_once('/')).ok_or_else(error)?;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let good_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(allowed);
        if text.len() > 2048 || !path.split('/').all(good_part) {
            return Err(error());
        }
        Ok(Self { domain: domain.parse().map_err(|_| error())?, path: path.to_owned() })
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}", self.domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

text_serde!(SpiffeId);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_enclave_name_becomes_a_spiffe_id_and_back() {
        let name: EnclaveName = "payments/api".parse().unwrap();
        let id = name.spiffe_id(&"example.org".parse().unwrap());
        assert_eq!(id.to_string(), "spiffe://example.org/payments/api");
        assert_eq!(id.to_string().parse::<SpiffeId>().unwrap().enclave(), Some(name));
    }

    #[test]
    fn names_with_bad_characters_are_refused() {
        for bad in ["", "a", "a/", "/a", "a/b/c", "A/b", "a/b ", "a/-b", "a/b-", "a/..", "a\n/b"] {
            assert!(bad.parse::<EnclaveName>().is_err(), "`{bad}` was taken");
        }
    }

    #[test]
    fn an_enclave_cannot_take_the_place_of_an_administrator() {
        let admin = SpiffeId::admin(&"d".parse().unwrap(), &"root".parse().unwrap());
        assert_eq!(admin.enclave(), None);
        assert_eq!(admin.administrator(), Some("root".parse().unwrap()));
        assert_eq!("spiffe://d/burgrave/api".parse::<SpiffeId>().unwrap().enclave(), None);
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "[ -~]{0,80}") {
            if let Ok(name) = text.parse::<ResourceName>() {
                prop_assert_eq!(name.to_string(), text.clone());
            }
            if let Ok(id) = format!("spiffe://{text}").parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), format!("spiffe://{text}"));
            }
        }
    }
}
