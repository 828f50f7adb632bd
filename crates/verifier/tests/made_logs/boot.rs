//! Boot event logs.

use burgrave_types::claims::BootClaims;
use burgrave_verifier::{Verdict, Verification, inspect};

use super::{AT, cause, found, length, machine, sha1, sha256};
use burgrave_made::tpm::Pcrs;

pub(crate) const NO_ACTION: u32 = 3;
pub(crate) const SEPARATOR: u32 = 4;
const IPL: u32 = 0x0d;
pub(crate) const VARIABLE: u32 = 0x8000_0001;
pub(crate) const PROGRAM: u32 = 0x8000_0003;
const ACTION: u32 = 0x8000_0007;

/// A crypto-agile log with SHA-1 and SHA-256 digests of a TPM's PCRs, and what it extends.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) bytes: Vec<u8>,
    pub(crate) pcrs: Pcrs,
}

impl Log {
    pub(crate) fn new() -> Self {
        let header =
            [b"Spec ID Event03\0".as_slice(), &[0, 0, 0, 0, 0, 2, 0, 2, 2, 0, 0, 0, 4, 0, 20, 0, 0x0b, 0, 32, 0, 0]]
                .concat();
        let bytes = [&0u32.to_le_bytes()[..], &NO_ACTION.to_le_bytes(), &[0; 20], &length(&header), &header].concat();
        let pcrs = [0, 4, 7, 8].map(|pcr| (pcr, vec![0; 32])).into();
        Self { bytes, pcrs }
    }

    /// An event whose digest is that of `measured` and whose data are `told`.
    pub(crate) fn event(mut self, pcr: u8, kind: u32, measured: &[u8], told: &[u8]) -> Self {
        self = self.told(pcr, kind, &sha1(measured), &sha256(measured), told);
        self.extended(pcr, &sha256(measured))
    }

    /// An event as the log has it.
    fn told(mut self, pcr: u8, kind: u32, sha1: &[u8], sha256: &[u8], data: &[u8]) -> Self {
        let head = [u32::from(pcr), kind, 2].map(u32::to_le_bytes).concat();
        self.bytes.extend([&head[..], &[4, 0], sha1, &[0x0b, 0], sha256, &length(data), data].concat());
        self
    }

    /// What a PCR had extended, whatever the log says.
    fn extended(mut self, pcr: u8, digest: &[u8]) -> Self {
        let value = self.pcrs.entry(pcr).or_insert_with(|| vec![0; 32]);
        *value = sha256(&[value.as_slice(), digest].concat());
        self
    }

    /// What firmware and boot loader of a machine measure.
    pub(crate) fn of_machine(secure: u8, command_line: &str) -> Self {
        let text = |label: &str, text: &str| [label, text, "\0"].concat().into_bytes();
        let grub = format!("linux {command_line}");
        Self::new()
            .event(7, VARIABLE, &secure_boot(secure), &secure_boot(secure))
            .event(7, SEPARATOR, &[0; 4], &[0; 4])
            .event(4, ACTION, b"Calling EFI Application from Boot Option", b"Calling EFI Application from Boot Option")
            .event(4, SEPARATOR, &[0; 4], &[0; 4])
            .event(4, PROGRAM, b"shim", b"path of shim")
            .event(4, PROGRAM, b"grub", b"path of grub")
            .event(8, IPL, grub.as_bytes(), &text("grub_cmd: ", &grub))
            .event(8, IPL, command_line.as_bytes(), &text("kernel_cmdline: ", command_line))
    }

    fn verify(&self) -> Verification {
        let mut machine = machine(self.pcrs.clone());
        machine.set("eventlog.bin", self.bytes.clone());
        machine.verify(AT)
    }

    pub(crate) fn claims(&self) -> BootClaims {
        let verification = self.verify();
        assert_eq!(verification.verdict, Verdict::Accept, "{:#?}", verification.checks);
        verification.claims.unwrap().boot.unwrap_or_default()
    }
}

/// `UEFI_VARIABLE_DATA` of the variable `SecureBoot`.
pub(crate) fn secure_boot(value: u8) -> Vec<u8> {
    let global = hex::decode("61dfe48bca93d211aa0d00e098032b8c").unwrap();
    let name: Vec<u8> = "SecureBoot".encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&global[..], &10u64.to_le_bytes(), &1u64.to_le_bytes(), &name, &[value]].concat()
}

#[test]
fn a_log_that_fits_its_quote_says_how_the_machine_was_booted() {
    let line = "/vmlinuz root=/dev/vda1 quiet";
    let claims = Log::of_machine(1, line).claims();
    assert_eq!((claims.secure_boot, claims.kernel_command_line.as_deref()), (Some(true), Some(line)));
    assert_eq!(
        claims.images.iter().map(|image| image.0.clone()).collect::<Vec<_>>(),
        [sha256(b"shim"), sha256(b"grub")]
    );
    assert_eq!(Log::of_machine(0, line).claims().secure_boot, Some(false));
}

#[test]
fn inspection_shows_registers_and_log_and_believes_neither() {
    let log = Log::of_machine(1, "/vmlinuz");
    let mut machine = machine(log.pcrs.clone());
    machine.set("eventlog.bin", log.bytes.clone());
    let inspected = inspect(&machine.part()).unwrap();
    let claims = inspected.claims.unwrap();
    assert_eq!(claims.boot.unwrap(), log.claims());
    assert_eq!(claims.registers["pcr7"].0, log.pcrs[&7]);
    // What a release's reference keeps of it.
    assert_eq!(inspected.log.reference().0["pcr7"].len(), 2);
    machine.set("pcrs.json", br#"{"sha256":{"7":""}}"#.to_vec());
    assert!(inspect(&machine.part()).is_err());
    let other = serde_json::json!({ "sha256": { "0": "00".repeat(32), "4": "00".repeat(32), "7": "00".repeat(32), "8": "00".repeat(32) } });
    machine.set("pcrs.json", other.to_string().into_bytes());
    let inspected = inspect(&machine.part()).unwrap();
    assert!(inspected.claims.unwrap().registers.is_empty() && inspected.log.is_empty());
}

#[test]
fn a_register_that_the_log_does_not_give_refuses_and_is_named() {
    let log = Log::of_machine(1, "/vmlinuz").extended(7, &[9; 32]);
    let verification = log.verify();
    assert_eq!((cause(&verification), verification.authentic), ("log.replay", false));
    assert!(found(&verification, "log.replay").starts_with("pcr7 otherwise: pcr7 is quoted as "));
    assert_eq!(verification.claims.unwrap().boot.unwrap().secure_boot, None);
    assert!(!verification.log.0["pcr7"].proven && verification.log.0["pcr4"].proven);

    // Leaving out all events of a register explains it as little.
    let mut stripped = Log::of_machine(1, "/vmlinuz");
    stripped.bytes = Log::new().bytes;
    assert_eq!(cause(&stripped.verify()), "log.replay");
}

#[test]
fn a_register_that_grows_after_the_boot_is_told_and_makes_no_claim() {
    let log = Log::of_machine(1, "/vmlinuz").event(12, IPL, b"x", b"x").extended(12, &[9; 32]);
    let verification = log.verify();
    assert_eq!(cause(&verification), "none");
    assert!(found(&verification, "log.replay.open").starts_with("pcr12 otherwise"));
    assert!(!verification.log.0["pcr12"].proven);

    let mut machine = machine(Log::of_machine(1, "/vmlinuz").extended(8, &[9; 32]).pcrs);
    machine.set("eventlog.bin", Log::of_machine(1, "/vmlinuz").bytes);
    machine.profile.boot_log.unexplained.insert("pcr8".to_owned());
    let verification = machine.verify(AT);
    assert_eq!(cause(&verification), "none");
    assert_eq!(verification.claims.unwrap().boot.unwrap().kernel_command_line, None);
}

#[test]
fn secure_boot_cannot_be_claimed_by_what_is_measured_after_the_firmware() {
    // Off in truth; what runs later measures another value and calls the true one something else.
    let off = secure_boot(0);
    let forged = Log::new()
        .event(7, 0x8000_0008, &off, b"some firmware")
        .event(7, ACTION, &[0; 4], b"no separator")
        .event(7, VARIABLE, &secure_boot(1), &secure_boot(1))
        .event(7, SEPARATOR, &[0; 4], &[0; 4]);
    assert_eq!(forged.claims().secure_boot, None);
    // Data that are not what was measured.
    let lying = Log::new().event(7, VARIABLE, &off, &secure_boot(1)).event(7, SEPARATOR, &[0; 4], &[0; 4]);
    assert_eq!(lying.claims().secure_boot, None);
    let twice = Log::new().event(7, VARIABLE, &off, &off).event(7, VARIABLE, &secure_boot(1), &secure_boot(1));
    assert_eq!(twice.claims().secure_boot, None);
}

#[test]
fn a_command_line_cannot_be_claimed_beside_the_one_that_was_booted() {
    let (evil, good) = ("/vmlinuz init=/bin/sh", "/vmlinuz quiet");
    let grub = format!("linux {evil}");
    let text = |label: &str, text: &str| [label, text, "\0"].concat().into_bytes();
    let booted = Log::new().event(8, IPL, grub.as_bytes(), &text("grub_cmd: ", &grub));
    let add = |log: Log, measured: &str, told: Vec<u8>| log.event(8, IPL, measured.as_bytes(), &told);
    let line = |log: Log| log.claims().kernel_command_line;
    assert_eq!(line(add(booted.clone(), evil, text("kernel_cmdline: ", evil))).as_deref(), Some(evil));
    for disguise in [text("grub_cmd: ", evil), text("", evil), b"/boot/some.mod\0".to_vec()] {
        let forged = add(add(booted.clone(), evil, disguise), good, text("kernel_cmdline: ", good));
        assert_eq!(line(forged), None);
    }
    let two = add(add(booted, evil, text("kernel_cmdline: ", evil)), good, text("kernel_cmdline: ", good));
    assert_eq!(line(two), None);
}

#[test]
fn no_command_line_is_claimed_where_the_boot_loader_was_told_to_do_something_else_beside() {
    let good = "/vmlinuz quiet";
    let with = |command: &str| {
        let told = ["grub_cmd: ", command, "\0"].concat().into_bytes();
        Log::of_machine(1, good).event(8, IPL, command.as_bytes(), &told).claims().kernel_command_line
    };
    for usual in ["boot", "set timeout=5", "insmod ext2", "initrd /initrd.img", "! [ -f /x ]"] {
        assert_eq!(with(usual).as_deref(), Some(good), "{usual}");
    }
    for other in [
        "chainloader /evil.efi",
        "! chainloader /evil.efi",
        "xnu_kernel64 /evil",
        "xen_hypervisor /evil.efi",
        "write_dword 0x90800 0x3d74696e",
        "acpi /evil.aml",
        "insmod (hd0)/evil.mod",
        "! linux /evil",
        "0+2000 init=/bin/sh",
    ] {
        assert_eq!(with(other), None, "{other}");
    }
}

#[test]
fn a_program_cannot_be_hidden_as_something_else() {
    let evil = [b"MZ".as_slice(), &[0; 40], b"evil"].concat();
    for (kind, told) in
        [(SEPARATOR, &[0; 4][..]), (ACTION, b"Exit Boot Services Invocation"), (PROGRAM, b""), (ACTION, &evil)]
    {
        let log = Log::of_machine(1, "/vmlinuz").event(4, kind, &evil, told);
        assert_eq!(log.claims().images.len(), 3, "{kind:#x}");
    }
}

#[test]
fn a_log_without_the_quoted_bank_explains_nothing_and_a_demanded_one_must() {
    let log = Log::of_machine(1, "/vmlinuz");
    let old = [&7u32.to_le_bytes()[..], &SEPARATOR.to_le_bytes(), &sha1(&[0; 4]), &[4, 0, 0, 0], &[0; 4]].concat();
    let mut machine = machine(log.pcrs.clone());
    machine.set("eventlog.bin", old);
    let told = machine.verify(AT);
    assert_eq!((cause(&told), found(&told, "log.bank")), ("none", "digests of sha1"));
    assert!(told.log.is_empty() && told.claims.unwrap().boot.is_none());

    machine.profile.boot_log.required = true;
    assert_eq!(machine.cause(), "log.absent");
    machine.set("eventlog.bin", log.bytes);
    assert_eq!(machine.cause(), "none");
    machine.set("eventlog.bin", b"boot".to_vec());
    assert_eq!(machine.cause(), "format.malformed");
    machine.items.retain(|(name, _)| name != "eventlog.bin");
    assert_eq!(machine.cause(), "log.absent");
}

#[test]
fn whatever_log_comes_with_a_quote_that_is_not_signed_says_nothing() {
    let log = Log::of_machine(1, "/vmlinuz");
    let mut machine = machine(log.pcrs.clone());
    machine.set("eventlog.bin", log.bytes);
    let (name, signature) = machine.items.iter_mut().find(|(name, _)| name == "quote.sig").unwrap();
    assert_eq!(name, "quote.sig");
    *signature.last_mut().unwrap() ^= 1;
    let verification = machine.verify(AT);
    assert_eq!(cause(&verification), "signature.invalid");
    assert!(verification.log.is_empty() && verification.claims.unwrap().boot.is_none());
}
