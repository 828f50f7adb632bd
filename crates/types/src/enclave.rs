//! Words about domains, enclaves and their instances.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

use crate::name::text_serde;
use crate::operation::words;
use crate::{ParseError, Timestamp};

words!(
    /// The class of a trust domain; set at genesis and never changed.
    DomainClass, "domain class", "expected `dev` or `production`",
    {
        /// For trying things out: takes simulated evidence, and says so in every certificate.
        Dev = "dev",
        /// For real: refuses simulated evidence wherever it was appraised.
        Production = "production",
    }
);

words!(
    /// What an enclave's keys are derived from: the registration's choice.
    KeyIdentity, "key identity", "expected one of name, signer, measurement",
    {
        /// The registration alone: every accepted release reads the same data.
        Name = "name",
        /// TEE, signer and product: what the same signer signs reads the same data.
        Signer = "signer",
        /// The whole matched reference value: other code has other keys.
        Measurement = "measurement",
    }
);

words!(
    /// The life of a release (a set of reference values).
    ReleaseState, "release state", "expected one of provisional, active, deprecated, revoked",
    {
        /// Proposed; accepts nothing yet.
        Provisional = "provisional",
        /// Accepts new attestations.
        Active = "active",
        /// Accepts re-attestation of instances that run already.
        Deprecated = "deprecated",
        /// Accepts nothing, for good.
        Revoked = "revoked",
    }
);

words!(
    /// What a registration lets pass that is refused unless it says so.
    Concession, "concession", "expected one of debug, migration, privilege, tcb, td-attributes, service-td",
    {
        /// The host's operator can look inside.
        Debug = "debug",
        /// A migration agent may move the instance.
        Migration = "migration",
        /// The evidence was asked for at a lower privilege than the highest.
        Privilege = "privilege",
        /// The platform's TCB is not what its vendor asks for.
        Tcb = "tcb",
        /// A trust domain (TDX) has attributes that are refused otherwise.
        TdAttributes = "td-attributes",
        /// A service TD, which can read or move the trust domain, is bound to it or may be.
        ServiceTd = "service-td",
    }
);

/// How an instance stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Standing {
    /// Its attestation holds.
    Fresh {
        /// The deadline: without a new attestation it is stale from then on.
        until: Timestamp,
    },
    /// It missed its deadline: no grant, channels cut. A new attestation makes it fresh.
    Stale {
        /// The deadline it missed.
        since: Timestamp,
    },
    /// Its access was ended by an administrator, or with its enclave or release.
    Revoked {
        /// When.
        at: Timestamp,
    },
}

impl Standing {
    /// The state in a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::Stale { .. } => "stale",
            Self::Revoked { .. } => "revoked",
        }
    }
}
