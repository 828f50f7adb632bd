//! The path that evidence takes: what the store has for it, and what the verdict teaches the store. Memory alone; no I/O.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use burgrave_types::{EvidencePart, Tee, Timestamp};
use burgrave_verifier::dcap::{Collateral, CollateralId, PckCa};
use burgrave_verifier::snp::Family;
use burgrave_verifier::{Certificate, Crl, Endorsement, Endorsements, Verdict, Verification};

use crate::amd::{self, Asked};
use crate::nvidia::{self, GpuChain, GpuList};
use crate::offer::RolledBack;
use crate::piece::{self, CrlPiece, Piece};
use crate::store::{Store, View};
use crate::{MOST, OfferError, Source, Want};

const COLLATERAL: &str = "collateral.json";
/// Items of SEV-SNP evidence that hold the certificate itself.
const VEK_ITEMS: [&str; 6] = ["vcek.der", "vlek.der", "vek.der", "vcek.pem", "vlek.pem", "vek.pem"];
/// Embedded collateral that is remembered, at most; what is longer is read anew each time. Strangers can fill this.
const REMEMBERED: usize = 64;
const REMEMBERED_BYTES: usize = 64 * 1024;
/// Chains of GPUs whose lists are remembered, at most.
const REMEMBERED_CHAINS: usize = 1024;

/// What evidence is judged with.
#[derive(Clone, Debug)]
pub struct Supply<'a> {
    /// The evidence as it is to be judged: without what it brought that is below a floor, or that the store has better.
    pub part: Cow<'a, EvidencePart>,
    /// What the store adds. The caller fills in `ak_proof` and `platforms`.
    pub endorsements: Endorsements,
    /// What was left out since it is below a floor, for the refusal's text.
    pub left_out: Vec<OfferError>,
}

/// Collateral that evidence brings.
#[derive(Debug, Default)]
pub(crate) struct Embedded {
    /// Which platforms it is for, where it is a whole.
    id: Option<CollateralId>,
    pieces: Vec<Piece>,
}

impl Embedded {
    fn read(json: &[u8]) -> Self {
        let id = Collateral::parse(json).ok().map(|collateral| collateral.id());
        Self { id, pieces: piece::read(json).unwrap_or_default() }
    }
}

impl Store {
    /// What there is for a part of evidence. Takes microseconds, and never waits for a source.
    ///
    /// What is held is given whether or not it has ended: the verifier judges that, and an ended list refuses where none
    /// at all might pass. Of what the evidence brings, nothing below a floor is left in.
    pub fn supply<'a>(&self, part: &'a EvidencePart, now: Timestamp) -> Supply<'a> {
        let mut supply =
            Supply { part: Cow::Borrowed(part), endorsements: Endorsements::default(), left_out: Vec::new() };
        let view = self.view.load();
        match part.tee {
            Tee::Tdx | Tee::Sgx => self.supply_dcap(&view, &mut supply, now),
            Tee::Snp => supply_snp(&view, &mut supply),
            Tee::AzVtpm => {
                self.supply_dcap(&view, &mut supply, now);
                supply_snp(&view, &mut supply);
            }
            Tee::NvidiaGpu => {
                supply.endorsements.crls = view.nvidia.crls.values().map(|list| list.parsed.clone()).collect();
                leave_out_old_lists(&view, &mut supply);
            }
            Tee::Nitro | Tee::Tpm | Tee::Cca | Tee::Simulated => {}
        }
        supply
    }

    /// Learns from a verdict on the evidence as it came: what was missing is wanted from now on.
    pub fn judged(&self, part: &EvidencePart, verification: &Verification, now: Timestamp) {
        let asked = amd::asked(part);
        let failed = |names: &[&str]| {
            verification.checks.iter().any(|check| !check.passed && check.fatal && names.contains(&check.name))
        };
        if failed(&["dcap.collateral.present", "dcap.collateral.validity", "dcap.crl.validity"])
            && let Some(id) = platform(verification)
        {
            self.want(Want::Platform(id), now);
        }
        if part.tee == Tee::NvidiaGpu {
            self.judged_gpu(part, verification, now);
        }
        let Some(Asked { id, families }) = asked else { return };
        if failed(&["snp.vek.present"]) && !id.vlek {
            self.want(Want::Vek { id: id.clone(), families: families.clone() }, now);
        }
        let view = self.view.load();
        for family in families {
            let held = view.amd.crls.keys().any(|issuer| amd::family_of_authority(issuer) == Some(family));
            // Wanted even where nothing was refused: a list is asked wherever one is at hand.
            let useful = verification.verdict == Verdict::Accept && !held && self.is_of(verification, family);
            if useful || failed(&["snp.crl.present", "snp.crl.validity"]) {
                self.want(Want::AmdCrl(family), now);
            }
            if failed(&["snp.chain"]) {
                self.want(Want::AmdChain { family, vlek: id.vlek }, now);
            }
        }
    }

    /// Learns which lists speak of a GPU, once its chain was found to lead to a root: what is missing, or has ended, is wanted.
    fn judged_gpu(&self, part: &EvidencePart, verification: &Verification, now: Timestamp) {
        if !verification.checks.iter().any(|check| check.name == "nvidia.chain" && check.passed) {
            return;
        }
        let lists = self.lists_of(part, now);
        let view = self.view.load();
        for list in lists.iter() {
            if view.nvidia.crls.get(&list.issuer).is_none_or(|held| held.ends <= now) {
                self.want(Want::GpuCrl(list.clone()), now);
            }
        }
    }

    /// The lists that speak of a GPU whose chain was verified. A chain is read once.
    fn lists_of(&self, part: &EvidencePart, now: Timestamp) -> Arc<Vec<GpuList>> {
        let Some(label) = GpuChain::label(part) else { return Arc::default() };
        let known = || self.gpu_chains.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lists) = known().get(&label) {
            return Arc::clone(lists);
        }
        let chain = GpuChain::read(part);
        self.lock().nvidia.note(&chain.lists);
        // An authority's list can be verified where its certificate is held. What else the chain has is of no use here.
        let is_beneath = |certificate: &&Certificate| nvidia::is_beneath_root(certificate, &self.roots);
        let beneath_root = chain.certificates.iter().filter(is_beneath).map(Certificate::der);
        drop(self.offer_all(beneath_root.collect::<Vec<_>>(), &Source::Evidence, now));
        let lists = Arc::new(chain.lists);
        let mut known = known();
        if known.len() >= REMEMBERED_CHAINS {
            known.clear();
        }
        known.insert(label, Arc::clone(&lists));
        lists
    }

    fn is_of(&self, verification: &Verification, family: Family) -> bool {
        let named = verification.claims.as_ref().and_then(|claims| claims.product.as_deref());
        named.is_some_and(|named| named.eq_ignore_ascii_case(family.as_str()))
    }

    fn supply_dcap(&self, view: &View, supply: &mut Supply<'_>, now: Timestamp) {
        let Some(json) = supply.part.item(COLLATERAL) else {
            supply.endorsements.dcap = Some(Arc::clone(&view.dcap));
            return;
        };
        let embedded = self.read_embedded(json);
        let Some(id) = embedded.id else {
            // It is no whole, and nothing of it can get into the cache: what is held counts, else the verifier says what is wrong.
            supply.endorsements.dcap = Some(Arc::clone(&view.dcap));
            return;
        };
        let below = embedded.pieces.iter().find_map(|piece| below_floor(piece, view));
        let is_held = view.platforms.get(&id).is_some_and(|held| held.holds_at(now));
        if below.is_some() || is_held {
            supply.part.to_mut().items.remove(COLLATERAL);
            supply.endorsements.dcap = Some(Arc::clone(&view.dcap));
            supply.left_out.extend(below);
        }
        // Else the evidence is judged by what it brings, all by itself: nothing of it stays in a cache that others use.
    }

    /// Takes up what evidence brought, to serve others as long as no source has given the same. Only for evidence of an instance
    /// that was admitted: genuine evidence alone is anybody's, and whose collateral counts for others is a matter of trust.
    pub fn admitted(&self, part: &EvidencePart, now: Timestamp) {
        let view = self.view.load();
        if let Some(json) = part.item(COLLATERAL)
            && self.read_embedded(json).id.is_some_and(|id| !view.platforms.contains_key(&id))
        {
            // What it says is of no interest here: the verdict has been given.
            drop(self.offer(json, &Source::Evidence, now));
        }
        if amd::asked(part).is_some_and(|asked| !view.amd.veks.contains_key(&asked.id)) {
            let beside =
                part.items.iter().filter(|(name, _)| is_beside_report(name)).map(|(_, bytes)| bytes.as_slice());
            let files: Vec<&[u8]> =
                beside.filter(|bytes| !matches!(Endorsement::read(bytes), Endorsement::Other)).collect();
            drop(self.offer_all(files, &Source::Evidence, now));
        }
    }

    /// Reads embedded collateral, and remembers it by its digest: the same comes with each renewal.
    fn read_embedded(&self, json: &[u8]) -> Arc<Embedded> {
        if json.len() > MOST {
            return Arc::default();
        }
        if json.len() > REMEMBERED_BYTES {
            return Arc::new(Embedded::read(json));
        }
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, json).as_ref());
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(embedded) = remembered.get(&key) {
            return Arc::clone(embedded);
        }
        drop(remembered);
        let embedded = Arc::new(Embedded::read(json));
        remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(key, Arc::clone(&embedded));
        embedded
    }
}

fn supply_snp(view: &View, supply: &mut Supply<'_>) {
    let Some(asked) = amd::asked(&supply.part) else { return };
    let lists =
        view.amd.crls.iter().filter(|(issuer, _)| {
            amd::family_of_authority(issuer).is_none_or(|family| asked.families.contains(&family))
        });
    supply.endorsements.crls = lists.map(|(_, list)| list.parsed.clone()).collect::<Vec<Crl>>();
    let certificates: Vec<Certificate> = view.amd.endorse(&asked);
    supply.endorsements.certificates = certificates;
    leave_out_old_lists(view, supply);
}

/// Lists among the items count like those of the store, so an old one must not be the only one.
fn leave_out_old_lists(view: &View, supply: &mut Supply<'_>) {
    // Whatever an item is called: the verifier goes by what it is.
    let lists = |bytes: &[u8]| match Endorsement::read(bytes) {
        Endorsement::Crl(list) => vec![*list],
        Endorsement::Several(_, lists) => lists,
        Endorsement::Certificates(_) | Endorsement::Other => Vec::new(),
    };
    let old = supply.part.items.iter().filter_map(|(name, bytes)| {
        let mut lists = lists(bytes).into_iter().map(|list| Piece::Crl(Arc::new(CrlPiece::of(list))));
        Some((name.clone(), lists.find_map(|piece| below_floor(&piece, view))?))
    });
    for (name, below) in old.collect::<Vec<_>>() {
        supply.part.to_mut().items.remove(&name);
        supply.left_out.push(below);
    }
}

/// Whether an item is neither the report nor another structure of known name: certificates and lists may stand there.
fn is_beside_report(name: &str) -> bool {
    VEK_ITEMS.contains(&name)
        || !matches!(
            name,
            "report.bin"
                | "hcl-report.bin"
                | "quote.bin"
                | "quote.msg"
                | "quote.sig"
                | "pcrs-sha256.json"
                | "pcrs.json"
                | COLLATERAL
        )
}

fn below_floor(piece: &Piece, view: &View) -> Option<OfferError> {
    let (subject, mark) = match piece {
        Piece::Signed(signed) => (signed.subject.clone(), &signed.mark),
        Piece::Crl(list) => (list.subject(), &list.mark),
        Piece::Chain(_) => return None,
    };
    let floor = view.floors.above(&subject, mark)?.clone();
    let (found, from) = (mark.clone(), Source::Evidence);
    Some(OfferError::RolledBack(Box::new(RolledBack { subject, found, floor, from })))
}

/// Which kind of platform a quote is of, by the verifier's reading of it.
fn platform(verification: &Verification) -> Option<CollateralId> {
    let raw = verification.raw.get("hardware").unwrap_or(&verification.raw);
    let text = |name: &str| raw.get(name).and_then(serde_json::Value::as_str);
    let mut fmspc = [0; 6];
    hex::decode_to_slice(text("fmspc")?, &mut fmspc).ok()?;
    let ca = match text("pck_ca")? {
        "processor" => PckCa::Processor,
        "platform" => PckCa::Platform,
        _ => return None,
    };
    let tee = match verification.tee {
        Tee::AzVtpm => Tee::Tdx,
        tee => tee,
    };
    Some(CollateralId { tee, fmspc, ca })
}
