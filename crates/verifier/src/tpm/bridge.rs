//! Authorities right below a root that `webpki` does not take for a critical extension which every verifier may ignore.
//!
//! STMicroelectronics, and Infineon and Intel in their older generations, mark the certificate policies of their authorities
//! critical. Whoever asks for no policy in particular (RFC 5280, section 6.1.1: an initial policy set of `any-policy`, and none of the
//! indicators set) accepts each, so that nothing but the mark is in the way. Such an authority is verified here, and then stands as an
//! anchor beside the roots. Everything below it is `webpki`'s.

use burgrave_types::Timestamp;
use const_oid::{AssociatedOid, ObjectIdentifier};
use x509_cert::ext::pkix::{BasicConstraints, CertificatePolicies, KeyUsage, NameConstraints};

use crate::x509::{Certificate, Crl};
use crate::{Endorsements, Input, lists};

/// Critical extensions of an authority that are processed here.
const PROCESSED: [ObjectIdentifier; 3] = [BasicConstraints::OID, KeyUsage::OID, CertificatePolicies::OID];

/// An authority that a root vouches for.
pub(super) struct Bridge<'a> {
    pub(super) authority: &'a Certificate,
    /// When the first of both certificates ends.
    pub(super) until: Timestamp,
}

/// The authorities among `known` that need a bridge and have one from one of `roots`, all of which are valid now.
pub(super) fn from<'a>(roots: &[&Certificate], known: &'a Endorsements, input: &Input<'_>) -> Vec<Bridge<'a>> {
    let needed = known.certificates.iter().filter(|authority| needs_one(authority));
    needed
        .filter_map(|authority| {
            let root = roots.iter().find(|root| vouches(root, authority, known, input))?;
            Some(Bridge { authority, until: authority.validity().1.min(root.validity().1) })
        })
        .collect()
}

/// Whether the mark on its policies is all that is in an authority's way.
fn needs_one(authority: &Certificate) -> bool {
    let mut critical = authority.extensions().iter().filter(|extension| extension.critical);
    let marked = authority.extensions().iter().any(|one| one.critical && one.extn_id == CertificatePolicies::OID);
    // A constraint on names below it would be asked of nobody, as an anchor's.
    let constrains_names = authority.extensions().iter().any(|one| one.extn_id == NameConstraints::OID);
    marked && !constrains_names && critical.all(|one| PROCESSED.contains(&one.extn_id))
}

/// Whether `root` vouches for an authority below it that has none below itself, and no list at hand says otherwise.
fn vouches(root: &Certificate, authority: &Certificate, known: &Endorsements, input: &Input<'_>) -> bool {
    let constrains_names = root.extensions().iter().any(|one| one.extn_id == NameConstraints::OID);
    authority.is_issued_by_name_of(root)
        && root.is_authority(1)
        && !constrains_names
        && authority.is_authority(0)
        && authority.is_valid_at(input.at)
        && lists::of_issuer([known.crls.as_slice()], root).into_iter().all(|list| clears(list, root, authority, input))
        && authority.is_signed_by(root)
}

/// Whether a list of the root's is one, is current, and does not name the authority.
fn clears(list: &Crl, root: &Certificate, authority: &Certificate, input: &Input<'_>) -> bool {
    let (from, next) = list.validity();
    list.is_whole()
        && !list.revokes(authority)
        && from <= input.at
        && next.is_some_and(|next| input.at < next)
        && input.roots.known_lists().is_signed(list, root, Crl::is_signed_by)
}
