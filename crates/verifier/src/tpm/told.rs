//! What quotes say, unverified: in the words that are the same for every TEE, and in their own.

use std::collections::BTreeSet;
use std::sync::Arc;

use burgrave_types::claims::{LaunchClaims, TcbClaims, TcbStatus};
use burgrave_types::{Claims, Registers, Tee};
use serde_json::{Value, json};

use super::known::Keys;
use super::{Hash, Quote, Signed};
use crate::Raw;
use crate::text::hex_text;
use crate::verification::Findings;

/// Sets the claims but for registers, and the TPM's own fields.
pub(super) fn describe(keys: &Arc<Keys>, quotes: &[Signed<'_>], findings: &mut Findings) {
    let (described, told) = (Arc::clone(keys), quotes.iter().map(Told::of).collect::<Vec<_>>());
    findings.raw = Raw::new(move || {
        json!({
            "ak_name": hex_text(&described.ak_name),
            "ak_attributes": described.attributes[0],
            "ek_digest": described.ek_digest.map(hex_text),
            "quotes": told.iter().map(Told::json).collect::<Vec<_>>(),
        })
    });
    let mut tcb = TcbClaims::new(TcbStatus::VendorManaged);
    let first = quotes.first();
    let plain = first.filter(|signed| keys.has_plain_numbers(&signed.quote.qualified_signer));
    tcb.svn.extend(plain.map(|signed| ("firmware".to_owned(), signed.quote.firmware_version)));
    let binding = first.map(|signed| signed.quote.extra_data.as_slice().into());
    findings.claims = Some(Claims { binding, ..claims(tcb) });
}

/// Sets what a quote says of which there is nothing else: neither its signature nor the values that it covers.
pub(super) fn describe_alone(quote: Quote, findings: &mut Findings) {
    let told = Told { quote: Arc::new(quote), signature: None };
    let binding = told.quote.extra_data.as_slice().into();
    findings.raw = Raw::new(move || json!({ "quotes": [told.json()] }));
    findings.claims = Some(Claims { binding: Some(binding), ..claims(TcbClaims::new(TcbStatus::VendorManaged)) });
}

fn claims(tcb: TcbClaims) -> Claims {
    Claims {
        tee: Tee::Tpm,
        product: None,
        // Whose TPM it is stands here once the bond between the keys is proven.
        platform_id: None,
        tcb,
        debug: None,
        migratable: None,
        privilege: None,
        // Which PCRs mean what is the registration's to say: its reference values name registers.
        launch: LaunchClaims::default(),
        registers: Registers::default(),
        config: None,
        binding: None,
        boot: None,
        td: None,
        proved: BTreeSet::new(),
    }
}

/// A quote's own fields, for people.
pub(super) struct Told {
    quote: Arc<Quote>,
    /// The scheme and the hash of its signature.
    signature: Option<(&'static str, Hash)>,
}

impl Told {
    pub(super) fn of(signed: &Signed<'_>) -> Self {
        let signature = (signed.signature.scheme(), signed.signature.hash);
        Self { quote: Arc::clone(&signed.quote), signature: Some(signature) }
    }

    pub(super) fn json(&self) -> Value {
        let quote = &self.quote;
        let selections = quote.selections.iter();
        json!({
            "selection": selections.map(|one| json!({ "bank": one.bank.as_str(), "pcrs": one.pcrs })).collect::<Vec<_>>(),
            "pcr_digest": hex_text(&quote.pcr_digest),
            "extra_data": hex_text(&quote.extra_data),
            "qualified_signer": hex_text(&quote.qualified_signer),
            "clock": quote.clock,
            "reset_count": quote.reset_count,
            "restart_count": quote.restart_count,
            "safe": quote.safe,
            "firmware_version": format!("{:#x}", quote.firmware_version),
            "scheme": self.signature.map(|(scheme, _)| scheme),
            "hash": self.signature.map(|(_, hash)| hash.as_str()),
        })
    }
}
