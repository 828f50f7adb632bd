//! Intel's collateral: four signed things that are combined for each kind of platform, and are newer or older each by itself.
//!
//! A new revocation list is put to use for every platform at once, whoever's collateral it came with. Whether a piece is
//! genuine is asked of `burgrave-verifier` alone: it verifies a whole of which the piece is a part.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use burgrave_types::{Tee, Timestamp};
use burgrave_verifier::dcap::{Cache, Collateral, CollateralId, NineMembers, PckCa, VerifiedCollateral};
use burgrave_verifier::{Check, Roots};
use der::pem::{LineEnding, encode_string};

use crate::piece::{CrlPiece, Piece, Signed};
use crate::{Floors, Subject};

/// Kinds of processor that are held at most; more than Intel has made.
const MOST_KINDS: usize = 120;

/// Pieces of one or more wholes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Intel {
    pub(crate) tcb_infos: BTreeMap<(Tee, [u8; 6]), Arc<Signed>>,
    pub(crate) identities: BTreeMap<Tee, Arc<Signed>>,
    pub(crate) crls: BTreeMap<String, Arc<CrlPiece>>,
    authorities: BTreeMap<PckCa, Authority>,
    /// The chain of the signer of TCB info and identities, for those that came without.
    signer: Option<String>,
}

/// A PCK authority with the chain that it came in.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Authority {
    subject: String,
    issuer: String,
    pem: String,
}

/// Why a piece is not taken, the least telling reason first.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Why {
    /// There is nothing that it could be put together with.
    Alone,
    /// What it could be put together with is not all there.
    Missing(String),
    /// A check failed.
    Failed(String),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Alone => {
                f.write_str("what it belongs to (TCB info, an identity, both lists and their chains) is missing")
            }
            Self::Missing(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

/// Which pieces of a whole a verification vouched for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Vouched {
    authority: bool,
    root_crl: bool,
    pck_crl: bool,
    tcb_info: bool,
    identity: bool,
}

impl Intel {
    /// The wholes that can be put together, or would be if nothing were missing.
    pub(crate) fn ids(&self) -> Vec<CollateralId> {
        let kinds = self.tcb_infos.keys();
        kinds.flat_map(|(tee, fmspc)| self.authorities.keys().map(|ca| id(*tee, *fmspc, *ca))).collect()
    }

    /// The whole for one kind of platform, in the nine members; else what is missing.
    pub(crate) fn assemble(&self, id: CollateralId) -> Result<Vec<u8>, String> {
        let info = self.tcb_infos.get(&(id.tee, id.fmspc));
        let missing = |subject: Subject| format!("{subject} is missing");
        let info = info.ok_or_else(|| missing(Subject::TcbInfo { tee: id.tee, fmspc: id.fmspc }))?;
        let identity = self.identities.get(&id.tee).ok_or_else(|| missing(Subject::QeIdentity { tee: id.tee }))?;
        let authority = self
            .authorities
            .get(&id.ca)
            .ok_or_else(|| missing(Subject::Authority { name: format!("Intel SGX PCK {} CA", id.ca) }))?;
        let list = |issuer: &String| {
            let list = self.crls.get(issuer).map(|list| hex::encode(list.parsed.der()));
            list.ok_or_else(|| missing(Subject::Crl { issuer: issuer.clone() }))
        };
        let chain = |signed: &Signed| {
            let chain = signed.chain.clone().or_else(|| self.signer.clone());
            chain.ok_or_else(|| missing(Subject::Authority { name: SIGNER.to_owned() }))
        };
        let members = NineMembers {
            pck_crl_issuer_chain: authority.pem.clone(),
            root_ca_crl: list(&authority.issuer)?,
            pck_crl: list(&authority.subject)?,
            tcb_info_issuer_chain: chain(info)?,
            tcb_info: info.text.clone(),
            tcb_info_signature: info.signature.clone(),
            qe_identity_issuer_chain: chain(identity)?,
            qe_identity: identity.text.clone(),
            qe_identity_signature: identity.signature.clone(),
        };
        serde_json::to_vec(&members).map_err(|error| error.to_string())
    }

    /// The numbered pieces of a whole.
    pub(crate) fn parts(&self, id: CollateralId) -> Vec<Subject> {
        let mut parts = vec![Subject::TcbInfo { tee: id.tee, fmspc: id.fmspc }, Subject::QeIdentity { tee: id.tee }];
        if let Some(Authority { subject, issuer, .. }) = self.authorities.get(&id.ca) {
            parts.extend([subject, issuer].map(|name| Subject::Crl { issuer: name.clone() }));
        }
        parts
    }

    /// Takes in those of `pieces` that are vouched for; returns those that are not, each with the reason.
    pub(crate) fn adopt(&mut self, pieces: Vec<Piece>, roots: &Roots) -> Vec<(Piece, Why)> {
        let several = pieces.len() > 1;
        let left = self.adopt_together(pieces, roots);
        if !several {
            return left;
        }
        // One that is not genuine spoils the whole for the others: each is tried beside what is genuine.
        let alone = |(piece, together): (Piece, Why)| {
            let left = self.adopt_together(vec![piece], roots);
            left.into_iter().map(move |(piece, alone)| (piece, alone.max(together.clone())))
        };
        left.into_iter().flat_map(alone).collect()
    }

    fn adopt_together(&mut self, pieces: Vec<Piece>, roots: &Roots) -> Vec<(Piece, Why)> {
        let mut candidate = self.clone();
        for piece in &pieces {
            candidate.insert(piece);
        }
        let mut vouched = BTreeMap::<CollateralId, Vouched>::new();
        let mut why = Why::Alone;
        for id in candidate.ids() {
            match candidate.assemble(id) {
                Ok(json) => {
                    let (parts, reason) = verify(&json, roots);
                    why = reason.map_or(why.clone(), Why::Failed).max(why);
                    vouched.insert(id, parts);
                }
                Err(missing) => why = Why::Missing(missing).max(why),
            }
        }
        let mut left = Vec::new();
        for piece in pieces {
            if vouched.iter().any(|(id, parts)| candidate.vouches(*id, *parts, &piece)) {
                self.insert(&piece);
            } else {
                left.push((piece, why.clone()));
            }
        }
        left
    }

    /// Whether a verification of the whole `id` of these pieces vouched for `piece`.
    fn vouches(&self, id: CollateralId, parts: Vouched, piece: &Piece) -> bool {
        let authority = self.authorities.get(&id.ca);
        match piece {
            Piece::Signed(signed) => match &signed.subject {
                Subject::TcbInfo { tee, fmspc } => parts.tcb_info && (*tee, *fmspc) == (id.tee, id.fmspc),
                _ => parts.identity && signed.subject == (Subject::QeIdentity { tee: id.tee }),
            },
            Piece::Crl(list) => authority.is_some_and(|authority| {
                (parts.root_crl && list.issuer == authority.issuer)
                    || (parts.pck_crl && list.issuer == authority.subject)
            }),
            Piece::Chain(_) => match read_chain(piece) {
                Some(Chain::Authority(ca, _)) => parts.authority && ca == id.ca,
                // A signer has proven itself with what it signed.
                Some(Chain::Signer(_)) => parts.tcb_info || parts.identity,
                None => false,
            },
        }
    }

    fn insert(&mut self, piece: &Piece) {
        match piece {
            Piece::Signed(signed) => match &signed.subject {
                Subject::TcbInfo { tee, fmspc } => {
                    self.tcb_infos.insert((*tee, *fmspc), Arc::clone(signed));
                    while self.tcb_infos.len() > MOST_KINDS {
                        let first = self.tcb_infos.iter().min_by_key(|(_, info)| info.ends).map(|(kind, _)| *kind);
                        first.map(|kind| self.tcb_infos.remove(&kind));
                    }
                }
                Subject::QeIdentity { tee } => drop(self.identities.insert(*tee, Arc::clone(signed))),
                Subject::Crl { .. } | Subject::Vek { .. } | Subject::Authority { .. } => {}
            },
            Piece::Crl(list) => drop(self.crls.insert(list.issuer.clone(), Arc::clone(list))),
            Piece::Chain(_) => match read_chain(piece) {
                Some(Chain::Authority(ca, authority)) => drop(self.authorities.insert(ca, authority)),
                Some(Chain::Signer(pem)) => self.signer = Some(pem),
                None => {}
            },
        }
    }

    /// Whether a chain of certificates is one of Intel's that is not held already.
    pub(crate) fn wants_chain(&self, piece: &Piece) -> Option<bool> {
        match read_chain(piece)? {
            Chain::Authority(ca, authority) => Some(self.authorities.get(&ca) != Some(&authority)),
            Chain::Signer(pem) => Some(self.signer.as_ref() != Some(&pem)),
        }
    }

    /// Forgets what is below a floor that rose elsewhere; says whether there was anything.
    pub(crate) fn forget_below(&mut self, floors: &Floors) -> bool {
        let counted = |intel: &Self| intel.tcb_infos.len() + intel.identities.len() + intel.crls.len();
        let before = counted(self);
        self.tcb_infos.retain(|_, info| floors.above(&info.subject, &info.mark).is_none());
        self.identities.retain(|_, identity| floors.above(&identity.subject, &identity.mark).is_none());
        self.crls.retain(|_, list| floors.above(&list.subject(), &list.mark).is_none());
        counted(self) != before
    }

    /// What there is of each kind, verified anew and put into `cache`, with the end of each; or why it cannot be used.
    pub(crate) fn build(&self, roots: &Roots, cache: &Cache) -> BTreeMap<CollateralId, Result<Window, String>> {
        let mut built = BTreeMap::new();
        for id in self.ids() {
            let result = self.assemble(id).and_then(|json| {
                let collateral = Collateral::parse(&json).map_err(|error| error.to_string())?;
                let verified = collateral.verify(roots).map_err(|checks| said(&checks))?;
                let window = Window::of(&verified);
                cache.add(verified).map_err(|error| error.to_string())?;
                Ok(window)
            });
            built.insert(id, result);
        }
        built
    }
}

/// From when until when collateral holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    from: Timestamp,
    until: Timestamp,
}

impl Window {
    fn of(verified: &VerifiedCollateral) -> Self {
        let (from, until) = verified.valid();
        Self { from, until }
    }

    pub(crate) fn holds_at(self, at: Timestamp) -> bool {
        self.from <= at && at < self.until
    }
}

const SIGNER: &str = "Intel SGX TCB Signing";

enum Chain {
    Authority(PckCa, Authority),
    Signer(String),
}

/// A chain that begins with a PCK authority or a signer, as PEM.
fn read_chain(piece: &Piece) -> Option<Chain> {
    let Piece::Chain(certificates) = piece else { return None };
    let first = certificates.first()?;
    let (subject, issuer) = (first.subject(), first.issuer());
    let pem = || {
        let pems = certificates.iter().map(|one| encode_string("CERTIFICATE", LineEnding::LF, one.der()).ok());
        pems.collect::<Option<String>>()
    };
    let named = |name: &str| subject.split(',').any(|part| part.trim().strip_prefix("CN=") == Some(name));
    for (name, ca) in [("Intel SGX PCK Processor CA", PckCa::Processor), ("Intel SGX PCK Platform CA", PckCa::Platform)]
    {
        if named(name) {
            let pem = pem()?;
            return Some(Chain::Authority(ca, Authority { subject, issuer, pem }));
        }
    }
    if named(SIGNER) { pem().map(Chain::Signer) } else { None }
}

/// Whether a list says that it is one of Intel's.
pub(crate) fn is_named(list: &CrlPiece) -> bool {
    list.issuer.split(',').any(|part| part.trim().starts_with("CN=Intel SGX "))
}

/// Verifies a whole; says which of its pieces are vouched for, and what failed.
fn verify(json: &[u8], roots: &Roots) -> (Vouched, Option<String>) {
    let collateral = match Collateral::parse(json) {
        Ok(collateral) => collateral,
        Err(error) => return (Vouched::default(), Some(error.to_string())),
    };
    match collateral.verify(roots) {
        Ok(_) => (Vouched { authority: true, root_crl: true, pck_crl: true, tcb_info: true, identity: true }, None),
        Err(checks) => {
            let passed = |name: &str| checks.iter().filter(|check| check.name == name && check.passed).count();
            let lists = passed("dcap.crl.signature");
            let vouched = Vouched {
                authority: passed("dcap.chain.constraints") > 0,
                root_crl: lists > 0,
                pck_crl: lists > 1,
                tcb_info: passed("dcap.tcb_info.signature") > 0,
                identity: passed("dcap.qe_identity.signature") > 0,
            };
            (vouched, Some(said(&checks)))
        }
    }
}

/// The check that failed, in a line.
fn said(checks: &[Check]) -> String {
    let failed = checks.iter().rev().find(|check| !check.passed);
    failed.map_or_else(
        || "it does not verify".to_owned(),
        |check| format!("{}: expected {}, found {}", check.name, check.expected, check.found),
    )
}

const fn id(tee: Tee, fmspc: [u8; 6], ca: PckCa) -> CollateralId {
    CollateralId { tee, fmspc, ca }
}
