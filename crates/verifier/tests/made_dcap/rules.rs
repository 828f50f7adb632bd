//! Attributes, quoting enclaves, modules and certificates that are not as the strict profile has them.

use burgrave_verifier::{Cause, Roots};

use crate::{accepted, each_refuses, refused};
use burgrave_made::intel::{KEYS, sgx, td};

#[test]
fn attributes_that_the_strict_profile_does_not_take_are_refused() {
    use Cause::{Debug, Migration, Privilege, ServiceTd, TdAttributes};
    each_refuses(
        &td(5, 4),
        &[
            ("debug", |made| made.body[120] = 1, Debug, true),
            ("profiling", |made| made.body[120] = 0x20, Debug, true),
            ("a reserved bit of those", |made| made.body[120] = 0x80, Debug, true),
            ("SEPT_VE_DISABLE off", |made| made.body[123] = 0, TdAttributes, true),
            ("migratable", |made| made.body[123] = 0x30, Migration, true),
            ("PKS", |made| made.body[123] = 0x50, TdAttributes, true),
            ("Key Locker", |made| made.body[123] = 0x90, TdAttributes, true),
            ("Perfmon", |made| made.body[127] = 0x80, TdAttributes, true),
            ("provisioning agent", |made| made.body[127] = 0x40, TdAttributes, true),
            ("an unknown bit", |made| made.body[125] = 1, TdAttributes, true),
            ("service TD", |made| made.body[647] = 1, ServiceTd, true),
            ("service TD at launch", |made| made.body[648 + 81] = 1, ServiceTd, true),
            ("service TD bound later", |made| made.body[648 + 181] = 1, ServiceTd, true),
            ("SERVTD_EXT", |made| made.body[122] = 2, ServiceTd, true),
            ("a partition", |made| made.body[648] = 1, Privilege, true),
        ],
    );
    each_refuses(
        &sgx(),
        &[
            ("debug", |made| made.body[48] = 0x07, Debug, true),
            ("32-bit mode", |made| made.body[48] = 0x01, TdAttributes, true),
            ("not initialised", |made| made.body[48] = 0x04, TdAttributes, true),
            ("a reserved flag", |made| made.body[48] |= 0x08, TdAttributes, true),
            ("a reserved flag further up", |made| made.body[55] = 0x80, TdAttributes, true),
        ],
    );
}

#[test]
fn defences_and_what_a_profile_takes_are_no_reason_to_refuse() {
    let defended = td(5, 4).with(|made| (made.body[122], made.body[123]) = (1, 0x18));
    accepted("ICSSD and LASS", &defended.case().verify());
    let mut case = td(5, 3).with(|made| (made.body[123], made.body[127], made.body[600]) = (0xc0, 0xc0, 1)).case();
    case.profile = toml::from_str(
        "[tdx]\nallow = [\"sept-ve\", \"pks\", \"key-locker\", \"perfmon\", \"provisioning-agent\"]\nallow_service_td = true",
    )
    .unwrap();
    accepted("a lax profile", &case.verify());
    let mut debug = sgx().with(|made| made.body[48] = 0x07).case();
    debug.profile.allow_debug = true;
    accepted("debug allowed", &debug.verify());
}

#[test]
fn a_quoting_enclave_that_is_not_intels_is_refused() {
    use Cause::{QeBinding, QeIdentity};
    each_refuses(
        &td(4, 2),
        &[
            ("MRSIGNER", |made| made.qe_report[128] ^= 1, QeIdentity, false),
            ("ISVPRODID", |made| made.qe_report[256] = 1, QeIdentity, false),
            ("MISCSELECT", |made| made.qe_report[16] = 1, QeIdentity, false),
            ("ATTRIBUTES", |made| made.qe_report[48] = 0x01, QeIdentity, false),
            ("debug", |made| made.qe_report[48] = 0x13, QeIdentity, false),
            (
                "debug that the mask leaves open",
                |made| {
                    made.qe_report[48] = 0x13;
                    made.qe_identity["attributesMask"] = "F9FFFFFFFFFFFFFF0000000000000000".into();
                },
                QeIdentity,
                false,
            ),
            ("SVN below every level", |made| made.qe_report[258] = 5, QeIdentity, false),
            ("another key", |made| made.qe_report_data = Some(vec![1; 32]), QeBinding, false),
        ],
    );
    for length in [0, 1, 1000] {
        accepted(
            "authentication data",
            &td(4, 2).with(|made| made.authentication_data = vec![5; length]).case().verify(),
        );
    }
}

#[test]
fn a_module_that_is_not_intels_is_refused() {
    let module = Cause::ModuleIdentity;
    each_refuses(
        &td(5, 3),
        &[
            ("MRSIGNERSEAM", |made| made.body[64] = 1, module, false),
            ("SEAMATTRIBUTES", |made| made.body[112] = 1, module, false),
            ("an unlisted version", |made| made.body[1] = 2, module, false),
            ("SVN below every level", |made| made.body[0] = 2, module, false),
            ("an unlisted version now", |made| made.body[585] = 2, module, false),
        ],
    );
    // A module of version 0 is judged with the platform, its numbers included.
    let old = td(4, 2).with(|made| made.body[..3].copy_from_slice(&[9, 0, 4]));
    refused("version 0, below its level", &old.case().verify(), Cause::TcbNoLevel, true);
    let listed = old.with(|made| made.tcb_info["tcbLevels"][0]["tcb"]["tdxtcbcomponents"][1]["svn"] = 0.into());
    accepted("version 0", &listed.case().verify());
    let forged = listed.with(|made| made.body[64] = 1);
    refused("version 0, MRSIGNERSEAM", &forged.case().verify(), module, false);
}

#[test]
fn a_chain_under_another_root_is_refused() {
    let mut case = sgx().case();
    case.roots = Roots::vendor();
    refused("Intel's root", &case.verify(), Cause::ChainUntrusted, false);
    case.roots = Roots::only([KEYS.other_root.der()]).unwrap();
    refused("a root of the same name", &case.verify(), Cause::ChainUntrusted, false);
}

#[test]
fn a_pck_certificate_that_is_none_is_refused() {
    use Cause::{CertificateExtension, CertificateKind, FormatMalformed};
    each_refuses(
        &sgx(),
        &[
            ("no FMSPC", |made| made.extension.members.retain(|arc| *arc != 4), CertificateExtension, false),
            ("no PPID", |made| made.extension.members.retain(|arc| *arc != 1), CertificateExtension, false),
            ("no TCB", |made| made.extension.members.retain(|arc| *arc != 2), CertificateExtension, false),
            ("FMSPC twice", |made| made.extension.members.push(4), CertificateExtension, false),
        ],
    );
    let unknown = sgx().with(|made| made.authority_name = "Intel SGX TCB Signing");
    let mut case = sgx().case();
    case.part.items.insert("quote.bin".to_owned(), unknown.quote());
    refused("another authority", &case.verify(), CertificateKind, false);
    let mut bytes = sgx().quote();
    let at = bytes.windows(5).position(|window| window == b"BEGIN").unwrap();
    bytes[at + 40] = b'!';
    case.part.items.insert("quote.bin".to_owned(), bytes);
    refused("no PEM", &case.verify(), FormatMalformed, false);
}
