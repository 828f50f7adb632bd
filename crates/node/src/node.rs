//! A running node.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, Result};
use burgrave_audit::FileAudit;
use burgrave_control::{Control, Parts};
use burgrave_edge::link::{Address, LinkHub, LinkLimits, LinkParts, LinkServer, Listener, RelayTap};
use burgrave_edge::rest::{AdminToken, RestLimits, RestParts, RestServer, TokenHash};
use burgrave_identity::DomainTrust;
use burgrave_identity::tls::CredentialSlot;
use burgrave_keyring::Keyring;
use burgrave_ledger::{Ledger, Unsealed};
use burgrave_store::RedbStore;
use burgrave_types::{Clock, DomainClass, GenesisHash, NodeId, Problem, ProblemCode, Random, Secret};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::certificates::{Issuer, NodeCredential};
use crate::collateral;
use crate::config::NodeConfig;
use crate::files::DataDir;
use crate::init::{Opened, blocking, open_domain};
use crate::roots::roots;

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(200);

/// How long a stopping node waits for its last connections.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a node is started with.
pub struct NodeOptions {
    /// Its configuration.
    pub config: NodeConfig,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Who is shown what the node relays between enclaves; nobody, but in demonstrations and tests.
    pub tap: Option<Arc<dyn RelayTap>>,
}

/// Where a node listens, with the ports that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The agent link.
    pub link: Vec<Address>,
    /// REST.
    pub rest: SocketAddr,
}

/// A running node. Dropped, it stops at once; [`Node::shutdown`] stops it in order.
pub struct Node {
    control: Arc<Control>,
    hub: Arc<LinkHub>,
    rest: Arc<RestServer>,
    store: Weak<RedbStore>,
    keyring: Weak<Keyring>,
    trust: DomainTrust,
    addresses: Addresses,
    tasks: JoinSet<()>,
}

impl Node {
    /// Opens the domain and serves it. When this returns, agents and administrators can connect.
    ///
    /// # Errors
    /// What could not be opened, read or bound, and why.
    pub async fn start(options: NodeOptions) -> Result<Self> {
        let NodeOptions { config, clock, random, tap } = options;
        let data = DataDir::new(&config.data_dir);
        let Opened { unsealed, keyring, store } = open_domain(&config, &data).await?;
        let held_keyring = Arc::downgrade(&keyring);
        let genesis = unsealed.genesis().clone();
        check_class(&config, genesis.body.class)?;
        let node = genesis.body.node_id;
        let issuer =
            Issuer::open(&data, &genesis, Arc::clone(&keyring), Arc::clone(&clock), Arc::clone(&random)).await?;
        let trust = issuer.trust.clone();
        let parts = parts(&config, &data, unsealed, keyring, &issuer, node).await?;
        let refresher = collateral::refresher(
            &config.collateral,
            &data,
            Arc::clone(parts.endorser.store()),
            Arc::clone(&clock),
            Arc::clone(&random),
        )?;
        let control = Control::start(parts).await.context("the services cannot start")?;
        let hub = tap.map_or_else(LinkHub::new, LinkHub::with_tap);
        control.set_links(Arc::clone(&hub) as _);

        let listeners = bind(&config.link.listen).await?;
        let rest_listener = TcpListener::bind(config.rest.listen)
            .await
            .with_context(|| format!("cannot listen on `{}` for REST", config.rest.listen))?;
        let credentials = Credentials::issue(issuer, &config, &listeners).await?;
        let rest = RestServer::new(RestParts {
            control: Arc::clone(&control),
            trust: trust.clone(),
            credential: Arc::clone(&credentials.slot),
            clock: Arc::clone(&clock),
            tokens: admin_tokens(&config)?,
            limits: RestLimits::default(),
        })?;
        let link = LinkServer::new(LinkParts {
            control: Arc::clone(&control),
            hub: Arc::clone(&hub),
            trust: trust.clone(),
            credential: Arc::clone(&credentials.slot),
            clock: Arc::clone(&clock),
            node,
            limits: LinkLimits::default(),
        })?;
        let link_addresses = listeners.iter().map(Listener::address).collect::<std::io::Result<_>>()?;
        let mut tasks = JoinSet::new();
        for listener in listeners {
            let link = Arc::clone(&link);
            tasks.spawn(async move { link.serve(&listener).await });
        }
        let addresses = Addresses { link: link_addresses, rest: rest_listener.local_addr()? };
        let rest_server = Arc::clone(&rest);
        tasks.spawn(async move { rest_server.serve(&rest_listener).await });
        tasks.spawn(keep_time(Arc::clone(&control), credentials, clock));
        if let Some(refresher) = refresher {
            tasks.spawn(refresher.run());
        }
        tracing::info!(domain = %trust.trust_domain(), class = %trust.class(), genesis = %trust.genesis_hash(), "serving");
        Ok(Self { control, hub, rest, store, keyring: held_keyring, trust, addresses, tasks })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The domain that it serves.
    pub fn trust(&self) -> &DomainTrust {
        &self.trust
    }

    /// The hash that names the domain.
    pub fn genesis(&self) -> GenesisHash {
        self.trust.genesis_hash()
    }

    /// The services, for whoever runs in the same process.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Stops: no new connection, those that are there are told why and ended, and the data folder is free for the next to
    /// open. Waits for that at most a few seconds.
    pub async fn shutdown(mut self) {
        self.rest.stop().await;
        self.tasks.shutdown().await;
        let reason = Problem::new(ProblemCode::Unavailable, "the node is stopping")
            .with_fix("agents come back by themselves when it, or another node, serves");
        self.hub.end_all(&reason);
        let Self { control, hub, rest, store, keyring, .. } = self;
        drop((control, hub, rest));
        // The tasks of the last connections still hold the services; they end by themselves.
        let released = async {
            while store.strong_count() + keyring.strong_count() > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, released).await.is_err() {
            tracing::warn!("a connection did not end in time; the data folder is free once the process has ended");
        }
    }
}

/// A `production` domain takes no shortcuts.
fn check_class(config: &NodeConfig, class: DomainClass) -> Result<()> {
    if class == DomainClass::Production && config.rest.token_file.is_some() {
        anyhow::bail!(
            "`rest.token_file` logs in whoever holds a file; a production domain takes client certificates alone"
        );
    }
    Ok(())
}

/// The bearer token that a `dev` node takes: who holds it is an administrator.
fn admin_tokens(config: &NodeConfig) -> Result<Vec<AdminToken>> {
    let (Some(path), Some(name)) = (&config.rest.token_file, &config.rest.token_name) else { return Ok(Vec::new()) };
    let text = crate::files::read_private(path)?;
    let token = Secret::new(text.expose().trim().to_owned());
    if token.expose().len() < 32 {
        anyhow::bail!("`rest.token_file`: the token in `{}` is shorter than 32 characters", path.display());
    }
    Ok(vec![AdminToken { name: name.clone(), roles: vec!["admin".to_owned()], hash: TokenHash::of(&token) }])
}

async fn parts(
    config: &NodeConfig,
    data: &DataDir,
    unsealed: Unsealed,
    keyring: Arc<Keyring>,
    issuer: &Issuer,
    node: NodeId,
) -> Result<Parts> {
    let (clock, random) = (Arc::clone(&issuer.clock), Arc::clone(&issuer.random));
    let ledger = Ledger::open(unsealed, Arc::clone(&keyring), Arc::clone(&clock), Arc::clone(&random)).await?;
    let (audit_path, audit_clock) = (data.audit(), Arc::clone(&clock));
    let audit = blocking(move || FileAudit::open(&audit_path, node, audit_clock)).await??;
    Ok(Parts {
        node,
        ledger: Arc::new(ledger),
        keyring,
        trust: issuer.trust.clone(),
        audit: Arc::new(audit),
        clock,
        random,
        endorser: collateral::endorser(
            &config.collateral,
            roots(&config.attestation)?,
            !config.attestation.tpm_roots.is_empty(),
        ),
    })
}

async fn bind(addresses: &[Address]) -> Result<Vec<Listener>> {
    let mut listeners = Vec::new();
    for address in addresses {
        listeners.push(Listener::bind(address).await?);
    }
    Ok(listeners)
}

/// The node's TLS certificate: shown in `slot`, renewed by `issuer`.
struct Credentials {
    issuer: Issuer,
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    slot: Arc<CredentialSlot>,
    current: NodeCredential,
}

impl Credentials {
    async fn issue(issuer: Issuer, config: &NodeConfig, listeners: &[Listener]) -> Result<Self> {
        let names = config.rest.names.clone();
        let mut addresses = vec![config.rest.listen.ip()];
        for listener in listeners {
            if let Address::Tcp(address) = listener.address()? {
                addresses.push(address.ip());
            }
        }
        let current = issuer.node(&names, &addresses).await?;
        Ok(Self { slot: current.slot()?, issuer, names, addresses, current })
    }

    /// Renews the certificate when half of its life is over. Where that fails, the old one is shown until it ends.
    async fn renew_if_due(&mut self, clock: &dyn Clock) {
        if clock.now() < self.current.renew_at {
            return;
        }
        let renewed = async {
            let next = self.issuer.node(&self.names, &self.addresses).await?;
            next.show_in(&self.slot)?;
            anyhow::Ok(next)
        };
        match renewed.await {
            Ok(next) => self.current = next,
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "the node's TLS certificate could not be renewed")
            }
        }
    }
}

/// Looks at deadlines and certificates, a few times a second, for as long as the node runs.
async fn keep_time(control: Arc<Control>, mut credentials: Credentials, clock: Arc<dyn Clock>) {
    let mut interval = tokio::time::interval(TICK);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        control.tick().await;
        credentials.renew_if_due(&*clock).await;
    }
}
