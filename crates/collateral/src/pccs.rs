//! Intel's service, or a PCCS that mirrors it (*Intel PCS API*, version 4; *Intel PCCS*, the caching service of SGX DCAP).

use burgrave_types::Tee;
use burgrave_verifier::dcap::{CollateralId, CollateralPiece, NineMembers, Statement};
use http::HeaderMap;

use crate::Source;
use crate::fetch::{Answer, BaseUrl, FetchError, Http};

/// Headers that carry issuer chains, percent-encoded PEM. The second name of the first is that of version 3.
const TCB_INFO_CHAIN: [&str; 2] = ["TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"];
const IDENTITY_CHAIN: [&str; 1] = ["SGX-Enclave-Identity-Issuer-Chain"];
const CRL_CHAIN: [&str; 1] = ["SGX-PCK-CRL-Issuer-Chain"];

/// A service that answers as Intel's does, below a base URL: `{base}/sgx/certification/v4/…` and `{base}/tdx/…`.
#[derive(Clone, Debug)]
pub struct Pccs {
    http: Http,
    base: BaseUrl,
    root_crl: Option<(BaseUrl, String)>,
}

impl Pccs {
    /// The service at `base`.
    pub fn new(http: Http, base: BaseUrl) -> Self {
        Self { http, base, root_crl: None }
    }

    /// Where the list of Intel's root is, for a service that does not have it: Intel's own gives it at
    /// `https://certificates.trustedservices.intel.com/IntelSGXRootCA.der`, a PCCS at `rootcacrl`.
    #[must_use]
    pub fn with_root_crl(mut self, host: BaseUrl, path: String) -> Self {
        self.root_crl = Some((host, path));
        self
    }

    pub(crate) fn source(&self) -> Source {
        Source::Service(self.base.to_string())
    }

    /// Everything for one kind of platform, as the nine members.
    pub(crate) async fn platform(&self, id: CollateralId) -> Result<Vec<u8>, FetchError> {
        let family = if id.tee == Tee::Tdx { "tdx" } else { "sgx" };
        let info_path = format!("/{family}/certification/v4/tcb?fmspc={}", hex::encode(id.fmspc));
        let identity_path = format!("/{family}/certification/v4/qe/identity");
        let list_path = format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", id.ca);
        let info = self.http.get(&self.base, &info_path).await?;
        let identity = self.http.get(&self.base, &identity_path).await?;
        let pck_crl = self.http.get(&self.base, &list_path).await?;
        let root_crl = match &self.root_crl {
            Some((host, path)) => self.http.get(host, path).await?,
            None => self.http.get(&self.base, "/sgx/certification/v4/rootcacrl").await?,
        };
        let tcb_info = signed(&info, &info_path, "TCB info with a signature")?;
        let qe_identity = signed(&identity, &identity_path, "an enclave identity with a signature")?;
        let members = NineMembers {
            pck_crl_issuer_chain: chain(&pck_crl.headers, &CRL_CHAIN, &list_path)?,
            root_ca_crl: list(&root_crl, "rootcacrl")?,
            pck_crl: list(&pck_crl, &list_path)?,
            tcb_info_issuer_chain: chain(&info.headers, &TCB_INFO_CHAIN, &info_path)?,
            tcb_info: tcb_info.text,
            tcb_info_signature: tcb_info.signature,
            qe_identity_issuer_chain: chain(&identity.headers, &IDENTITY_CHAIN, &identity_path)?,
            qe_identity: qe_identity.text,
            qe_identity_signature: qe_identity.signature,
        };
        serde_json::to_vec(&members).map_err(|error| FetchError::Connection(error.to_string()))
    }
}

fn signed(answer: &Answer, path: &str, expected: &'static str) -> Result<Statement, FetchError> {
    let pieces = CollateralPiece::read(&answer.body).unwrap_or_default();
    let statement = pieces.into_iter().find_map(|piece| match piece {
        CollateralPiece::Statement(statement) => Some(statement),
        CollateralPiece::Crl(_) | CollateralPiece::Chain(_) => None,
    });
    statement.ok_or_else(|| FetchError::Content { path: path.to_owned(), expected })
}

/// A list as hexadecimal text, in whatever form it came.
fn list(answer: &Answer, path: &str) -> Result<String, FetchError> {
    let list = CollateralPiece::read_crl(&answer.body).map(|list| hex::encode(list.der()));
    list.ok_or_else(|| FetchError::Content { path: path.to_owned(), expected: "a revocation list" })
}

/// The chain as it stands in the header.
fn chain(headers: &HeaderMap, names: &[&str], path: &str) -> Result<String, FetchError> {
    let value = names.iter().find_map(|name| headers.get(*name)).and_then(|value| value.to_str().ok());
    value.filter(|value| CollateralPiece::read_chain(value).is_some()).map(str::to_owned).ok_or_else(|| {
        let expected = "an answer with the issuer's chain in its header";
        FetchError::Content { path: path.to_owned(), expected }
    })
}
