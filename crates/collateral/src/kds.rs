//! AMD's key distribution service, or a mirror of it (AMD 57230, *VCEK Certificate and KDS Interface Specification*).

use burgrave_verifier::snp::Family;

use crate::amd::VekId;
use crate::fetch::{BaseUrl, FetchError, Http};
use crate::{Source, Want};

/// A service that answers as `https://kdsintf.amd.com` does, below a base URL.
#[derive(Clone, Debug)]
pub struct Kds {
    http: Http,
    base: BaseUrl,
}

impl Kds {
    /// The service at `base`.
    pub fn new(http: Http, base: BaseUrl) -> Self {
        Self { http, base }
    }

    pub(crate) fn source(&self) -> Source {
        Source::Service(self.base.to_string())
    }

    /// What answers a want; the last error where none of the ways to ask for it did.
    pub(crate) async fn fetch(&self, want: &Want) -> Result<Vec<u8>, FetchError> {
        let paths = match want {
            Want::AmdCrl(family) => vec![format!("/vcek/v1/{}/crl", family.product())],
            Want::AmdChain { family, vlek } => {
                vec![format!("/{}/v1/{}/cert_chain", if *vlek { "vlek" } else { "vcek" }, family.product())]
            }
            Want::Vek { id, families } => families.iter().map(|family| vcek_path(id, *family)).collect(),
            Want::Platform(_) | Want::GpuCrl(_) => Vec::new(),
        };
        let mut failed = FetchError::Connection("AMD's service has nothing of the kind".to_owned());
        for path in paths {
            match self.http.get(&self.base, &path).await {
                Ok(answer) => return Ok(answer.body.to_vec()),
                Err(error) if error.is_absent() => failed = error,
                Err(error) => return Err(error),
            }
        }
        Err(failed)
    }
}

/// `fmcSPL` is asked for where the family has it (AMD 57230, section "VCEK certificate request").
fn vcek_path(id: &VekId, family: Family) -> String {
    let [fmc, bl, tee, snp, ucode] = id.svn;
    let fmc = if family == Family::Turin { format!("fmcSPL={fmc:02}&") } else { String::new() };
    let (family, chip) = (family.product(), hex::encode(id.hw_id()));
    format!("/vcek/v1/{family}/{chip}?{fmc}blSPL={bl:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={ucode:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vcek_is_asked_for_as_the_interface_has_it() {
        let mut chip = [0; 64];
        chip[..8].fill(0xab);
        let turin = VekId { vlek: false, chip, svn: [1, 2, 3, 4, 81] };
        assert_eq!(
            vcek_path(&turin, Family::Turin),
            "/vcek/v1/Turin/abababababababab?fmcSPL=01&blSPL=02&teeSPL=03&snpSPL=04&ucodeSPL=81"
        );
        let milan = VekId { vlek: false, chip: [1; 64], svn: [0, 3, 0, 8, 115] };
        let path = vcek_path(&milan, Family::Milan);
        assert_eq!(path, format!("/vcek/v1/Milan/{}?blSPL=03&teeSPL=00&snpSPL=08&ucodeSPL=115", "01".repeat(64)));
    }
}
