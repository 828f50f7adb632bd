//! What the steps of the demo share: the domain, its node, and who plays.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use burgrave_attester::swtpm::Swtpm;
use burgrave_client::Client;
use burgrave_node::{Node, RelayTap};
use burgrave_types::api::{NewRule, PolicyView, RuleEffect};
use burgrave_types::{ChannelId, EnclaveName, InstanceId};

use super::Broken;
use super::cast::Cast;
use super::enclave::Enclave;
use super::tap::Tap;
use crate::domain::DevDomain;

/// The state of the play.
pub(super) struct Play {
    pub(super) folder: PathBuf,
    pub(super) cast: Cast,
    pub(super) tap: Arc<Tap>,
    pub(super) domain: Option<DevDomain>,
    pub(super) node: Option<Node>,
    pub(super) client: Option<Client>,
    pub(super) emulator: Option<Swtpm>,
    pub(super) api: Option<Enclave>,
    pub(super) ledger: Option<Enclave>,
    pub(super) report: Option<Enclave>,
    pub(super) gateway: Option<Enclave>,
    /// The instance that `payments/ledger` is.
    pub(super) ledger_instance: Option<InstanceId>,
    /// What `payments/api` encrypted, and the fingerprint of its key.
    pub(super) secret: Option<(String, String)>,
    /// The channels from `payments/api` to `payments/ledger` and back, and the policy that lets the first be.
    pub(super) channels: Option<(ChannelId, ChannelId)>,
    pub(super) sending: Option<PolicyView>,
    broken: Option<Broken>,
}

impl Play {
    pub(super) fn new(folder: &Path, broken: Option<Broken>) -> Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            cast: Cast::new()?,
            tap: Arc::new(Tap::default()),
            domain: None,
            node: None,
            client: None,
            emulator: None,
            api: None,
            ledger: None,
            report: None,
            gateway: None,
            ledger_instance: None,
            secret: None,
            channels: None,
            sending: None,
            broken,
        })
    }

    /// Whether this is to be left out.
    pub(super) fn is_broken(&self, what: Broken) -> bool {
        self.broken == Some(what)
    }

    /// Opens the domain in `folder`, and serves it where it was served before.
    pub(super) async fn serve(&mut self, folder: &str) -> Result<()> {
        let folder = self.folder.join(folder);
        std::fs::create_dir_all(&folder).with_context(|| format!("`{}` cannot be made", folder.display()))?;
        let mut domain = DevDomain::open(&folder).await?;
        if let Some(before) = &self.domain {
            let (link, rest) = before.addresses();
            domain.listen(link, rest);
        }
        let node = domain.serve(Some(Arc::clone(&self.tap) as Arc<dyn RelayTap>)).await?;
        self.client = Some(domain.context(&node).client()?);
        self.domain = Some(domain);
        self.node = Some(node);
        Ok(())
    }

    /// The administrator's way in.
    pub(super) fn client(&self) -> Result<&Client> {
        self.client.as_ref().context("there is no node yet")
    }

    /// Starts an enclave's process.
    pub(super) fn enclave(&self, name: &EnclaveName, attester: &str) -> Result<Enclave> {
        let node = self.node.as_ref().context("there is no node yet")?;
        let link = node.addresses().link.first().context("the node listens nowhere")?;
        Enclave::start(name, attester, &link.to_string(), node.genesis())
    }

    /// Stores a simple rule.
    pub(super) async fn allow(&self, rule: String) -> Result<PolicyView> {
        let rule = NewRule { effect: RuleEffect::Allow, rule, description: String::new() };
        Ok(self.client()?.create_rule(&rule).await?)
    }

    /// Ends the processes and the node.
    pub(super) async fn end(self) {
        drop((self.api, self.ledger, self.report, self.gateway, self.emulator));
        if let Some(node) = self.node {
            node.shutdown().await;
        }
    }
}

/// An enclave that a step before has started.
pub(super) fn there(enclave: &Option<Enclave>) -> Result<&Enclave> {
    enclave.as_ref().context("an enclave that was not started")
}
