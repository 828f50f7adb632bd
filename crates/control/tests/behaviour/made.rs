//! Machines of each TEE made in the test, under roots of its own: attesters whose evidence carries what it is asked to.

use std::sync::LazyLock;

use burgrave_attester::{Attester, AttesterError, BindingData};
use burgrave_made::amd::{AUTHORITY, sign_report};
use burgrave_made::azure::Machine;
use burgrave_made::cbor::Value;
use burgrave_made::intel::{KEYS, Made};
use burgrave_made::nitro::{self, Maker};
pub(crate) use burgrave_made::nvidia::FIRMWARE;
use burgrave_made::nvidia::{self, Gpu};
pub(crate) use burgrave_made::packaged;
use burgrave_types::{Evidence, EvidencePart, Tee};
use burgrave_verifier::Roots;
use rcgen::date_time_ymd;

/// The roots of all that is made here.
pub(crate) fn roots() -> Roots {
    Roots::only([AUTHORITY.ark.as_slice(), NITRO.root.der(), KEYS.root.der(), GPU.root.der()]).unwrap()
}

// === SEV-SNP ===

/// A machine with SEV-SNP; what `report` says is signed.
#[derive(Clone)]
pub(crate) struct Snp {
    pub(crate) report: Vec<u8>,
}

impl Snp {
    pub(crate) fn new() -> Self {
        Self { report: packaged("snp/synthetic/base/report.bin") }
    }

    pub(crate) fn measurement(&self) -> Vec<u8> {
        self.report[0x90..0xc0].to_vec()
    }

    pub(crate) fn chip(&self) -> Vec<u8> {
        self.report[0x1a0..0x1e0].to_vec()
    }

    pub(crate) fn signed(mut self, signer: u8, svn: u8) -> Self {
        self.report[0xe0..0x110].fill(signer);
        self.report[4] = svn;
        self
    }

    pub(crate) fn debug(mut self) -> Self {
        self.report[8 + 2] |= 1 << 3;
        self
    }

    pub(crate) fn migratable(mut self) -> Self {
        self.report[8 + 2] |= 1 << 2;
        self
    }

    /// Launched under firmware of that number (LAUNCH_TCB, offset 0x1f0; SNP is its byte 6 on Milan).
    pub(crate) fn launched_under(mut self, snp: u8) -> Self {
        self.report[0x1f6] = snp;
        self
    }

    pub(crate) fn vmpl(mut self, level: u8) -> Self {
        self.report[0x30] = level;
        self
    }

    pub(crate) fn measured(mut self, measurement: u8) -> Self {
        self.report[0x90..0xc0].fill(measurement);
        self
    }
}

impl Attester for Snp {
    fn tee(&self) -> Tee {
        Tee::Snp
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let report = self.report_over(&binding.report_data);
        let items = [("report.bin", report), ("vcek.der", AUTHORITY.vek.clone()), ("ask.der", AUTHORITY.ask.clone())];
        Ok(Evidence::single(EvidencePart::new(Tee::Snp, items)))
    }
}

impl Snp {
    fn report_over(&self, report_data: &[u8; 64]) -> Vec<u8> {
        let mut report = self.report.clone();
        report[0x50..0x90].copy_from_slice(report_data);
        sign_report(&mut report);
        report
    }
}

// === Azure ===

/// An Azure machine over SEV-SNP, whose PCRs 0 to 2 have these values.
pub(crate) struct Azure(pub(crate) Snp, pub(crate) [u8; 3]);

impl Attester for Azure {
    fn tee(&self) -> Tee {
        Tee::AzVtpm
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let machine = Machine {
            nonce: binding.qualifying_data.to_vec(),
            report: self.0.report.clone(),
            pcrs: self.1.iter().map(|value| [*value; 32]).collect(),
            ..Machine::new()
        };
        Ok(Evidence::single(machine.part()))
    }
}

// === TDX and SGX ===

/// A platform of Intel's with its collateral.
pub(crate) struct Dcap(pub(crate) Made);

impl Attester for Dcap {
    fn tee(&self) -> Tee {
        self.0.tee
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let at = if self.0.tee == Tee::Tdx { 520 } else { 320 };
        let made = self.0.with(|made| made.body[at..at + 64].copy_from_slice(&binding.report_data));
        Ok(Evidence::single(made.case().part))
    }
}

// === Nitro ===

static NITRO: LazyLock<Maker> = LazyLock::new(Maker::new);

/// A Nitro enclave with these PCR 0, 4 and 8.
#[derive(Clone)]
pub(crate) struct NitroEnclave {
    pub(crate) image: u8,
    pub(crate) parent: u8,
    pub(crate) signer: u8,
}

impl Attester for NitroEnclave {
    fn tee(&self) -> Tee {
        Tee::Nitro
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        let pcr = |index, value| nitro::pcr(index, vec![value; 48]);
        let mut maker = NITRO.clone();
        maker.leaf.not_after = date_time_ymd(2027, 1, 1);
        maker.pcrs = vec![pcr(0, self.image), pcr(4, self.parent), pcr(8, self.signer)];
        maker.field("user_data", Value::Bytes(binding.report_data.to_vec()));
        maker.field("nonce", Value::Null);
        Ok(Evidence::single(maker.part()))
    }
}

// === A GPU beside a CPU ===

static GPU: LazyLock<Gpu> = LazyLock::new(Gpu::new);

/// The chips that stand beside each other, by their places.
static CHIPS: LazyLock<[Gpu; 3]> = LazyLock::new(|| [GPU.clone(), GPU.of_another_chip(), GPU.of_another_chip()]);

/// A GPU's report over a nonce, with SPDM measurements 1 and 2.
pub(crate) fn gpu(nonce: &[u8; 32], measurements: [u8; 2]) -> EvidencePart {
    report(&GPU, nonce, measurements)
}

fn report(chip: &Gpu, nonce: &[u8; 32], measurements: [u8; 2]) -> EvidencePart {
    let blocks = (1..).zip(measurements.map(|value| nvidia::block(&[value; 48]))).collect();
    Gpu { nonce: *nonce, blocks, ..chip.clone() }.part()
}

/// A machine with GPUs beside its CPU, each with these measurements.
pub(crate) struct WithGpus<A>(pub(crate) A, pub(crate) Vec<[u8; 2]>);

impl<A: Attester> Attester for WithGpus<A> {
    fn tee(&self) -> Tee {
        self.0.tee()
    }

    fn evidence(&mut self, binding: &BindingData) -> Result<Evidence, AttesterError> {
        self.0.evidence(binding)
    }

    fn parts(&mut self, nonce: &dyn Fn(Tee) -> [u8; 32]) -> Result<Vec<EvidencePart>, AttesterError> {
        let nonce = nonce(Tee::NvidiaGpu);
        Ok(self.1.iter().zip(CHIPS.iter()).map(|(measurements, chip)| report(chip, &nonce, *measurements)).collect())
    }
}
