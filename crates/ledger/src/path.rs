//! What records are called.

use std::fmt;
use std::str::FromStr;

use burgrave_types::ParseError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),+ $(,)?) => {
        /// What kinds of record there are. A node that meets another kind does not open the ledger: it would not know
        /// what that record forbids.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum RecordKind { $($(#[$doc])* $variant),+ }

        impl RecordKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word in paths.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }
        }

        impl FromStr for RecordKind {
            type Err = ParseError;

            fn from_str(text: &str) -> Result<Self, ParseError> {
                match text {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(ParseError::new("record kind", text, concat!("expected one of:" $(, " ", $text)+))),
                }
            }
        }
    };
}

kinds! {
    /// A registration of an enclave, with its releases.
    Enclave = "enclave",
    /// An attested instance.
    Instance = "instance",
    /// A named key and its versions.
    Key = "key",
    /// An enclave's key in a keyspace and its versions.
    Keyspace = "keyspace",
    /// A policy.
    Policy = "policy",
    /// The public keys that a node signs attestation results with.
    SigningKeys = "signing-keys",
    /// How new vendors' collateral must be, at least.
    CollateralFloors = "collateral-floors",
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A record's place: `enclave/payments/api`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordPath {
    kind: RecordKind,
    name: Box<str>,
}

impl RecordPath {
    /// Bytes of a name, at most.
    pub const MAX_NAME: usize = 512;

    /// The record of that kind and name.
    ///
    /// # Errors
    /// [`ParseError`] unless the name is 1 to 512 bytes: parts of `A-Z a-z 0-9 - _ . : @ +` between single slashes.
    pub fn new(kind: RecordKind, name: &str) -> Result<Self, ParseError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'@' | b'+');
        let good_part = |part: &str| !part.is_empty() && part.bytes().all(allowed);
        if name.len() > Self::MAX_NAME || !name.split('/').all(good_part) {
            let expected = "expected 1 to 512 bytes: parts of A-Z, a-z, 0-9, `-_.:@+` between single slashes";
            return Err(ParseError::new("record name", name, expected));
        }
        Ok(Self { kind, name: name.into() })
    }

    /// Its kind.
    pub fn kind(&self) -> RecordKind {
        self.kind
    }

    /// Its name within the kind.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for RecordPath {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let error = || ParseError::new("record path", text, "expected `<kind>/<name>`, e.g. `enclave/payments/api`");
        let (kind, name) = text.split_once('/').ok_or_else(error)?;
        Self::new(kind.parse()?, name)
    }
}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl fmt::Debug for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_reads_back_from_its_text() {
        for kind in RecordKind::ALL {
            let path = RecordPath::new(*kind, "payments/api/v1.4").unwrap();
            assert_eq!(path.to_string().parse::<RecordPath>().unwrap(), path);
        }
    }

    #[test]
    fn an_unknown_kind_or_a_bad_name_is_refused() {
        for bad in ["vault/a", "enclave", "enclave/", "enclave//a", "enclave/a/", "enclave/a b", "enclave/\u{e9}"] {
            assert!(bad.parse::<RecordPath>().is_err(), "`{bad}` was taken");
        }
        assert!(RecordPath::new(RecordKind::Key, &"x".repeat(513)).is_err());
    }
}
