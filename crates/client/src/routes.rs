//! One method per route.

use std::time::Duration;

use burgrave_identity::{DomainTrust, VerifiedIdentity};
use burgrave_types::api::{
    AuthorizeRequest, Can, ChannelView, CutRequest, DecisionFilter, DecisionSubject, DecisionView, DomainInfo,
    EnclaveChange, EnclaveView, InstanceFilter, InstanceView, KeySet, KeyVersionView, KeyView, NewEnclave, NewKey,
    NewPolicy, NewRelease, NewRule, Page, Paged, PolicyView, ReleaseStateChange, RevokeRequest, Revoked, RotateRequest,
    Status, Why,
};
use burgrave_types::{
    ChannelId, DecisionId, EnclaveName, InstanceId, PolicyId, Problem, ProblemCode, ResourceId, Revision, Segment,
};
use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::connection::{Call, Connection};
use crate::{Credential, Events, Server};

/// A client of one node. Each method is a route of `/v1`; each may fail with the problem that the node answered, with
/// `unavailable` where the node cannot be asked, and with `domain.mismatch` where it is another domain's.
pub struct Client {
    connection: Connection,
}

impl Client {
    /// A client of `server` that logs in with `credential`. Connects with the first call.
    ///
    /// # Errors
    /// `auth.required` where the credential's key does not fit its certificate.
    pub fn new(server: Server, credential: Credential) -> Result<Self, Problem> {
        Ok(Self { connection: Connection::new(server, credential)? })
    }

    /// The same, with another bound on how long a call may take (30 s otherwise).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.connection.set_timeout(timeout);
        self
    }

    /// The server that this asks.
    pub fn server(&self) -> &Server {
        self.connection.server()
    }

    /// Connects, verifies the node's chain from the genesis hash on, and says what it shows; sends no request.
    pub async fn verify_domain(&self) -> Result<(DomainTrust, VerifiedIdentity), Problem> {
        self.connection.peer().await
    }

    /// `GET /v1/domain`: what names the domain. Needs no login.
    pub async fn domain(&self) -> Result<DomainInfo, Problem> {
        self.get("/v1/domain".into()).await
    }

    /// `GET /v1/domain/keys`: what attestation results verify with. Needs no login.
    pub async fn domain_keys(&self) -> Result<KeySet, Problem> {
        self.get("/v1/domain/keys".into()).await
    }

    /// `GET /v1/status`.
    pub async fn status(&self) -> Result<Status, Problem> {
        self.get("/v1/status".into()).await
    }

    /// `GET /v1/enclaves`.
    pub async fn enclaves(&self, page: &Page) -> Result<Paged<EnclaveView>, Problem> {
        self.get(format!("/v1/enclaves{}", query(&[], page))).await
    }

    /// `POST /v1/enclaves`.
    pub async fn create_enclave(&self, new: &NewEnclave) -> Result<EnclaveView, Problem> {
        self.send(Method::POST, "/v1/enclaves".into(), new, None).await
    }

    /// `GET /v1/enclaves/{namespace}/{name}`.
    pub async fn enclave(&self, name: &EnclaveName) -> Result<EnclaveView, Problem> {
        self.get(format!("/v1/enclaves/{name}")).await
    }

    /// `PATCH /v1/enclaves/{namespace}/{name}`.
    pub async fn update_enclave(
        &self,
        name: &EnclaveName,
        at: Revision,
        change: &EnclaveChange,
    ) -> Result<EnclaveView, Problem> {
        self.send(Method::PATCH, format!("/v1/enclaves/{name}"), change, Some(at)).await
    }

    /// `DELETE /v1/enclaves/{namespace}/{name}`: ends its instances, and the name is free again.
    pub async fn delete_enclave(&self, name: &EnclaveName, at: Revision) -> Result<Revoked, Problem> {
        self.call(Method::DELETE, format!("/v1/enclaves/{name}"), None, Some(at)).await
    }

    /// `POST /v1/enclaves/{namespace}/{name}/revoke`.
    pub async fn revoke_enclave(&self, name: &EnclaveName, reason: &str) -> Result<Revoked, Problem> {
        self.revoke(format!("/v1/enclaves/{name}/revoke"), reason).await
    }

    /// `POST /v1/enclaves/{namespace}/{name}/releases`.
    pub async fn add_release(
        &self,
        name: &EnclaveName,
        at: Revision,
        release: &NewRelease,
    ) -> Result<EnclaveView, Problem> {
        self.send(Method::POST, format!("/v1/enclaves/{name}/releases"), release, Some(at)).await
    }

    /// `PUT /v1/enclaves/{namespace}/{name}/releases/{release}/state`.
    pub async fn set_release_state(
        &self,
        name: &EnclaveName,
        release: &Segment,
        at: Revision,
        change: impl Into<ReleaseStateChange>,
    ) -> Result<EnclaveView, Problem> {
        let path = format!("/v1/enclaves/{name}/releases/{release}/state");
        self.send(Method::PUT, path, &change.into(), Some(at)).await
    }

    /// `POST /v1/enclaves/{namespace}/{name}/releases/{release}/revoke`.
    pub async fn revoke_release(
        &self,
        name: &EnclaveName,
        release: &Segment,
        reason: &str,
    ) -> Result<Revoked, Problem> {
        self.revoke(format!("/v1/enclaves/{name}/releases/{release}/revoke"), reason).await
    }

    /// `GET /v1/instances`.
    pub async fn instances(&self, filter: &InstanceFilter, page: &Page) -> Result<Paged<InstanceView>, Problem> {
        let enclave = filter.enclave.as_ref().map(ToString::to_string);
        let narrow = [("enclave", enclave.as_deref()), ("standing", filter.standing.as_deref())];
        self.get(format!("/v1/instances{}", query(&narrow, page))).await
    }

    /// `GET /v1/instances/{id}`.
    pub async fn instance(&self, id: InstanceId) -> Result<InstanceView, Problem> {
        self.get(format!("/v1/instances/{id}")).await
    }

    /// `POST /v1/instances/{id}/revoke`.
    pub async fn revoke_instance(&self, id: InstanceId, reason: &str) -> Result<Revoked, Problem> {
        self.revoke(format!("/v1/instances/{id}/revoke"), reason).await
    }

    /// `POST /v1/instances/{id}/reattest`: asks it for new evidence now.
    pub async fn reattest(&self, id: InstanceId) -> Result<(), Problem> {
        self.call::<serde_json::Value>(Method::POST, format!("/v1/instances/{id}/reattest"), None, None).await.map(drop)
    }

    /// `GET /v1/policies`.
    pub async fn policies(&self, page: &Page) -> Result<Paged<PolicyView>, Problem> {
        self.get(format!("/v1/policies{}", query(&[], page))).await
    }

    /// `POST /v1/policies`.
    pub async fn create_policy(&self, policy: &NewPolicy) -> Result<PolicyView, Problem> {
        self.send(Method::POST, "/v1/policies".into(), policy, None).await
    }

    /// `POST /v1/policies/validate`: the faults, without storing anything.
    pub async fn validate_policy(&self, policy: &NewPolicy) -> Result<(), Problem> {
        self.send::<serde_json::Value>(Method::POST, "/v1/policies/validate".into(), policy, None).await.map(drop)
    }

    /// `POST /v1/rules`: stores a simple rule as the policy that says the same.
    pub async fn create_rule(&self, rule: &NewRule) -> Result<PolicyView, Problem> {
        self.send(Method::POST, "/v1/rules".into(), rule, None).await
    }

    /// `GET /v1/policies/{id}`.
    pub async fn policy(&self, id: PolicyId) -> Result<PolicyView, Problem> {
        self.get(format!("/v1/policies/{id}")).await
    }

    /// `PUT /v1/policies/{id}`.
    pub async fn put_policy(&self, id: PolicyId, at: Revision, policy: &NewPolicy) -> Result<PolicyView, Problem> {
        self.send(Method::PUT, format!("/v1/policies/{id}"), policy, Some(at)).await
    }

    /// `DELETE /v1/policies/{id}`.
    pub async fn delete_policy(&self, id: PolicyId, at: Revision) -> Result<(), Problem> {
        self.call::<serde_json::Value>(Method::DELETE, format!("/v1/policies/{id}"), None, Some(at)).await.map(drop)
    }

    /// `GET /v1/keys`.
    pub async fn keys(&self, page: &Page) -> Result<Paged<KeyView>, Problem> {
        self.get(format!("/v1/keys{}", query(&[], page))).await
    }

    /// `POST /v1/keys`.
    pub async fn create_key(&self, new: &NewKey) -> Result<KeyView, Problem> {
        self.send(Method::POST, "/v1/keys".into(), new, None).await
    }

    /// `GET /v1/keys/{kind}/{namespace}/{name}`.
    pub async fn key(&self, resource: &ResourceId) -> Result<KeyView, Problem> {
        self.get(format!("/v1/keys/{resource}")).await
    }

    /// `GET /v1/keys/{kind}/{namespace}/{name}/versions`: with, for a keyspace, each enclave's own.
    pub async fn key_versions(&self, resource: &ResourceId) -> Result<Vec<KeyVersionView>, Problem> {
        self.get(format!("/v1/keys/{resource}/versions")).await
    }

    /// `POST /v1/keys/{kind}/{namespace}/{name}/rotate`.
    pub async fn rotate_key(
        &self,
        resource: &ResourceId,
        enclave: Option<&EnclaveName>,
    ) -> Result<KeyVersionView, Problem> {
        let request = RotateRequest { enclave: enclave.cloned() };
        self.send(Method::POST, format!("/v1/keys/{resource}/rotate"), &request, None).await
    }

    /// `DELETE /v1/keys/{kind}/{namespace}/{name}`: what was written under it cannot be read any more.
    pub async fn delete_key(&self, resource: &ResourceId, at: Revision) -> Result<(), Problem> {
        self.call::<serde_json::Value>(Method::DELETE, format!("/v1/keys/{resource}"), None, Some(at)).await.map(drop)
    }

    /// `GET /v1/channels`.
    pub async fn channels(&self, page: &Page) -> Result<Paged<ChannelView>, Problem> {
        self.get(format!("/v1/channels{}", query(&[], page))).await
    }

    /// `POST /v1/channels/{id}/cut`.
    pub async fn cut_channel(&self, id: ChannelId, reason: &str) -> Result<(), Problem> {
        let request = CutRequest { reason: reason.to_owned() };
        self.send::<serde_json::Value>(Method::POST, format!("/v1/channels/{id}/cut"), &request, None).await.map(drop)
    }

    /// `GET /v1/decisions`: the latest first.
    pub async fn decisions(&self, filter: &DecisionFilter) -> Result<Vec<DecisionView>, Problem> {
        let enclave = filter.enclave.as_ref().map(ToString::to_string);
        let allowed = filter.allowed.map(|allowed| allowed.to_string());
        let operation = filter.operation.map(|operation| operation.to_string());
        let narrow = [
            ("enclave", enclave.as_deref()),
            ("subject", filter.subject.map(DecisionSubject::as_str)),
            ("allowed", allowed.as_deref()),
            ("operation", operation.as_deref()),
        ];
        let page = Page { after: None, limit: filter.limit };
        self.get(format!("/v1/decisions{}", query(&narrow, &page))).await
    }

    /// `GET /v1/decisions/{id}`: why it fell as it did.
    pub async fn why(&self, id: DecisionId) -> Result<Why, Problem> {
        self.get(format!("/v1/decisions/{id}")).await
    }

    /// `POST /v1/authorize`: how a decision would fall now.
    pub async fn can(&self, question: &AuthorizeRequest) -> Result<Can, Problem> {
        self.send(Method::POST, "/v1/authorize".into(), question, None).await
    }

    /// `GET /v1/events`: what happens, as it happens; after the event `last`, where one is given.
    pub async fn events(&self, last: Option<&str>) -> Result<Events, Problem> {
        let call =
            Call { method: Method::GET, path: "/v1/events".into(), body: None, if_match: None, last_event: last };
        Ok(Events::new(self.connection.stream(call).await?))
    }

    async fn get<T: DeserializeOwned>(&self, path: String) -> Result<T, Problem> {
        self.call(Method::GET, path, None, None).await
    }

    async fn revoke(&self, path: String, reason: &str) -> Result<Revoked, Problem> {
        self.send(Method::POST, path, &RevokeRequest { reason: reason.to_owned() }, None).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: &impl Serialize,
        if_match: Option<Revision>,
    ) -> Result<T, Problem> {
        let body = serde_json::to_vec(body)
            .map_err(|error| Problem::new(ProblemCode::Internal, format!("the request cannot be written: {error}")))?;
        self.call(method, path, Some(body), if_match).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        body: Option<Vec<u8>>,
        if_match: Option<Revision>,
    ) -> Result<T, Problem> {
        self.connection.json(Call { method, path, body, if_match, last_event: None }).await
    }
}

/// `?a=b&…` for what is there; names and values here need no escaping but for the page token.
fn query(narrow: &[(&str, Option<&str>)], page: &Page) -> String {
    let limit = (page.limit > 0).then(|| page.limit.to_string());
    let paging = [("page_token", page.after.as_deref()), ("limit", limit.as_deref())];
    let pairs = narrow.iter().chain(&paging).filter_map(|(name, value)| value.map(|value| (*name, value)));
    let mut query = String::new();
    for (name, value) in pairs {
        query.push(if query.is_empty() { '?' } else { '&' });
        query.push_str(name);
        query.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                    query.push(char::from(byte))
                }
                other => query.push_str(&format!("%{other:02X}")),
            }
        }
    }
    query
}

/// Reads bytes as the answer of each route, for the fuzzer; returns as how many they pass.
pub(crate) fn read_as_each_answer(bytes: &[u8]) -> usize {
    fn reads<T: DeserializeOwned>(bytes: &[u8]) -> bool {
        serde_json::from_slice::<T>(bytes).inspect_err(|error| drop(error.to_string())).is_ok()
    }
    let kinds = [
        reads::<Problem>,
        reads::<DomainInfo>,
        reads::<KeySet>,
        reads::<Status>,
        reads::<Paged<EnclaveView>>,
        reads::<EnclaveView>,
        reads::<Revoked>,
        reads::<Paged<InstanceView>>,
        reads::<InstanceView>,
        reads::<Paged<PolicyView>>,
        reads::<PolicyView>,
        reads::<Paged<KeyView>>,
        reads::<KeyView>,
        reads::<Vec<KeyVersionView>>,
        reads::<Paged<ChannelView>>,
        reads::<Vec<DecisionView>>,
        reads::<Why>,
        reads::<Can>,
        reads::<serde_json::Value>,
    ];
    kinds.into_iter().filter(|reads| reads(bytes)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_holds_what_is_asked_and_escapes_it() {
        let page = Page { after: Some("a&b=c".into()), limit: 5 };
        assert_eq!(
            query(&[("enclave", Some("p/a")), ("standing", None)], &page),
            "?enclave=p/a&page_token=a%26b%3Dc&limit=5"
        );
        assert_eq!(query(&[], &Page::default()), "");
    }
}
