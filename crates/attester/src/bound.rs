//! Whether raw evidence carries the report data that was asked for.

use burgrave_types::Tee;

/// Where report data stands in a SEV-SNP report (Firmware ABI Specification, table 23), the body of an SGX quote (SGX DCAP
/// Quote Library API, appendix A.4: header of 48 bytes, then the report body) and that of a TDX quote (appendix A.3: after the
/// header of version 4; version 5 puts six bytes of type and size between).
const SNP: usize = 0x50;
const SGX: usize = 48 + 320;
const TDX_4: usize = 48 + 520;
const TDX_5: usize = 48 + 6 + 520;

/// Whether `evidence` covers `report_data`. Formats whose fields have no fixed place (CBOR) must hold the bytes somewhere. It
/// proves nothing: it finds out here, rather than at the verifier, that another program's request was answered.
pub(crate) fn covers(tee: Tee, evidence: &[u8], report_data: &[u8; 64]) -> bool {
    let at = match tee {
        Tee::Snp => SNP,
        Tee::Sgx => SGX,
        Tee::Tdx if evidence.starts_with(&5u16.to_le_bytes()) => TDX_5,
        Tee::Tdx => TDX_4,
        _ => return evidence.windows(report_data.len()).any(|window| window == report_data),
    };
    evidence.get(at..at + report_data.len()) == Some(report_data.as_slice())
}
