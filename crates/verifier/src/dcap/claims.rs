//! What a quote says: in the words that are the same for every TEE, and in its own.

use std::collections::{BTreeMap, BTreeSet};

use burgrave_types::claims::{LaunchClaims, Proved, TcbClaims};
use burgrave_types::{Claims, Registers, Tee};
use serde_json::{Map, Value, json};

use super::attributes::{is_td_debug, is_td_migratable, td_claims};
use super::collateral::Collateral;
use super::pck::{Pck, Platform};
use super::quote::{Body, EnclaveReport, Quote, TdReport};
use super::tcb::Standing;
use crate::Raw;
use crate::text::hex_text;

/// The claims. MROWNER and MROWNERCONFIG are not among them: the host sets them, and no hardware proves who signed a TD.
pub(super) fn claims(quote: &Quote<'_>, platform: Option<&Platform>, standing: &Standing) -> Claims {
    let mut svn = BTreeMap::new();
    if let Some(platform) = platform {
        svn.insert("pce".to_owned(), u64::from(platform.svn.pce));
        components(&mut svn, "sgx", &platform.svn.components);
    }
    svn.insert("qe".to_owned(), u64::from(quote.qe_report.isv_svn));
    let common = |tee, product: &str, svn, launch, debug| Claims {
        tee,
        product: Some(product.to_owned()),
        platform_id: platform.map(|platform| platform.ppid.as_slice().into()),
        tcb: TcbClaims {
            status: standing.status.normalised(),
            svn,
            advisories: standing.advisories.iter().cloned().collect(),
        },
        debug: Some(debug),
        migratable: None,
        privilege: None,
        launch,
        registers: Registers::default(),
        config: None,
        binding: Some(quote.body.report_data().as_slice().into()),
        boot: None,
        td: None,
        proved: BTreeSet::from([Proved::Launch]),
    };
    match &quote.body {
        Body::Enclave(report) => {
            let launch = LaunchClaims {
                measurement: Some(report.mr_enclave.as_slice().into()),
                signer: Some(report.mr_signer.as_slice().into()),
                product_id: Some(report.isv_product_id.to_string()),
                svn: Some(u64::from(report.isv_svn)),
            };
            Claims {
                config: Some(report.config_id.as_slice().into()),
                ..common(Tee::Sgx, "sgx", svn, launch, report.is_debug())
            }
        }
        Body::Td(report) => {
            components(&mut svn, "tdx", &report.tee_tcb_svn);
            let launch = LaunchClaims { measurement: Some(report.mr_td.as_slice().into()), ..LaunchClaims::default() };
            let registers = (0..).zip(&report.rtmrs);
            Claims {
                migratable: Some(is_td_migratable(report)),
                td: Some(td_claims(report)),
                registers: registers.map(|(at, value)| (format!("rtmr{at}"), value.as_slice().into())).collect(),
                config: Some(report.mr_config_id.as_slice().into()),
                proved: BTreeSet::from([Proved::Launch, Proved::Boot]),
                ..common(Tee::Tdx, report.product(), svn, launch, is_td_debug(report))
            }
        }
    }
}

/// Components that count for anything, by number from 1 as Intel counts them.
fn components(svn: &mut BTreeMap<String, u64>, name: &str, components: &[u8; 16]) {
    let counting = (1..).zip(components).filter(|(_, component)| **component != 0);
    svn.extend(counting.map(|(at, component)| (format!("{name}{at}"), u64::from(*component))));
}

/// The fields as they stand, under the names that Intel's documents give them.
pub(super) fn raw(
    quote: &Quote<'_>,
    pck: Option<&Pck>,
    collateral: Option<&Collateral>,
    standing: Option<&Standing>,
) -> Raw {
    let (version, user_data, qe_report, body) =
        (quote.version, quote.user_data, quote.qe_report.clone(), quote.body.clone());
    let pck = pck.map(|pck| (pck.platform.clone(), pck.ca));
    let numbers = collateral.map(|collateral| {
        let (info, identity) = (collateral.tcb_info(), collateral.qe_identity());
        (info.tcb_evaluation_data_number, identity.tcb_evaluation_data_number)
    });
    let status = standing.map(|standing| standing.status);
    Raw::new(move || {
        let mut raw = Map::new();
        let mut put = |name: &str, value: Value| drop(raw.insert(name.to_owned(), value));
        put("version", version.into());
        put("user_data", hex_text(user_data).into());
        put("qe_report", quoting_enclave(&qe_report).into());
        if let Some((platform, ca)) = pck {
            put("fmspc", hex_text(platform.fmspc).into());
            put("pceid", hex_text(platform.pce_id).into());
            put("ppid", hex_text(platform.ppid).into());
            put("cpusvn", hex_text(platform.cpu_svn).into());
            put("pcesvn", platform.svn.pce.into());
            put("sgx_components", platform.svn.components.as_slice().into());
            put("pck_ca", ca.to_string().into());
        }
        if let Some((tcb, qe)) = numbers {
            put("tcb_evaluation_data_number", tcb.into());
            put("qe_evaluation_data_number", qe.into());
        }
        if let Some(status) = status {
            put("tcb_status", status.as_str().into());
        }
        match &body {
            Body::Enclave(report) => put("report", enclave(report).into()),
            Body::Td(report) => put("report", td(report).into()),
        }
        raw.into()
    })
}

/// The quoting enclave's, as far as its identity speaks of it.
fn quoting_enclave(report: &EnclaveReport) -> Map<String, Value> {
    fields([
        ("miscselect", hex_text(report.misc_select).into()),
        ("attributes", hex_text(report.attributes).into()),
        ("mrenclave", hex_text(report.mr_enclave).into()),
        ("mrsigner", hex_text(report.mr_signer).into()),
        ("isvprodid", report.isv_product_id.into()),
        ("isvsvn", report.isv_svn.into()),
    ])
}

fn enclave(report: &EnclaveReport) -> Map<String, Value> {
    fields([
        ("cpusvn", hex_text(report.cpu_svn).into()),
        ("miscselect", hex_text(report.misc_select).into()),
        ("isvextprodid", hex_text(report.isv_ext_product_id).into()),
        ("attributes", hex_text(report.attributes).into()),
        ("mrenclave", hex_text(report.mr_enclave).into()),
        ("mrsigner", hex_text(report.mr_signer).into()),
        ("configid", hex_text(report.config_id).into()),
        ("isvprodid", report.isv_product_id.into()),
        ("isvsvn", report.isv_svn.into()),
        ("configsvn", report.config_svn.into()),
        ("isvfamilyid", hex_text(report.isv_family_id).into()),
        ("reportdata", hex_text(report.report_data).into()),
    ])
}

fn td(report: &TdReport) -> Map<String, Value> {
    let mut out = fields([
        ("tee_tcb_svn", hex_text(report.tee_tcb_svn).into()),
        ("mrseam", hex_text(report.mr_seam).into()),
        ("mrsignerseam", hex_text(report.mr_signer_seam).into()),
        ("seamattributes", hex_text(report.seam_attributes).into()),
        ("tdattributes", hex_text(report.td_attributes.to_le_bytes()).into()),
        ("xfam", hex_text(report.xfam).into()),
        ("mrtd", hex_text(report.mr_td).into()),
        ("mrconfigid", hex_text(report.mr_config_id).into()),
        ("mrowner", hex_text(report.mr_owner).into()),
        ("mrownerconfig", hex_text(report.mr_owner_config).into()),
        ("rtmrs", json!(report.rtmrs.map(hex_text))),
        ("reportdata", hex_text(report.report_data).into()),
    ]);
    if let (Some(svn), Some(service_td)) = (report.tee_tcb_svn_2, report.mr_service_td) {
        out.extend(fields([("tee_tcb_svn2", hex_text(svn).into()), ("mrservicetd", hex_text(service_td).into())]));
    }
    if let Some(extension) = &report.extension {
        out.extend(fields([
            ("vmid", extension.vm_id.into()),
            ("td_id", hex_text(extension.td_id).into()),
            ("dev_info", hex_text(extension.device_info).into()),
            ("init_service_td_hash", hex_text(extension.initial_service_td).into()),
            ("cur_service_td_hash", hex_text(extension.current_service_td).into()),
        ]));
    }
    out
}

fn fields<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
