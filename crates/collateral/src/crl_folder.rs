//! A folder of revocation lists on a web server: NVIDIA's, or a mirror of it.

use crate::Source;
use crate::fetch::{BaseUrl, FetchError, Http};
use crate::nvidia::GpuList;

/// A service that has NVIDIA's lists below a base URL, as `http://crl.ndis.nvidia.com/crl` has.
#[derive(Clone, Debug)]
pub struct CrlFolder {
    http: Http,
    base: BaseUrl,
}

impl CrlFolder {
    /// The service at `base`.
    pub fn new(http: Http, base: BaseUrl) -> Self {
        Self { http, base }
    }

    pub(crate) fn source(&self) -> Source {
        Source::Service(self.base.to_string())
    }

    pub(crate) async fn fetch(&self, list: &GpuList) -> Result<Vec<u8>, FetchError> {
        self.http.get(&self.base, &format!("/{}", list.file)).await.map(|answer| answer.body.to_vec())
    }
}
