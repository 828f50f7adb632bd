//! A `dev` domain in a folder: made, or opened again, and served on loopback.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use burgrave_node::{
    Address, AttestationConfig, CollateralConfig, DataDir, InitOptions, LinkConfig, Node, NodeConfig, NodeOptions,
    RelayTap, RestConfig, TokenConfig, init,
};
use burgrave_seal::SystemRandom;
use burgrave_types::{DomainClass, Random, Secret, SystemClock};

/// What a `dev` domain is called.
const TRUST_DOMAIN: &str = "dev.example";
/// Its administrator.
const ADMIN: &str = "dev";

/// A `dev` domain on the disk.
pub(crate) struct DevDomain {
    config: NodeConfig,
    token_file: PathBuf,
}

impl DevDomain {
    /// The domain in `folder`; where there is none, a new one with a software token that a key file opens.
    pub(crate) async fn open(folder: &Path) -> Result<Self> {
        let data_dir = folder.join("domain");
        let token_file = folder.join("admin-token");
        if !DataDir::new(&data_dir).token().exists() {
            let options = InitOptions {
                trust_domain: TRUST_DOMAIN.parse()?,
                class: DomainClass::Dev,
                operators: Vec::new(),
                quorum: None,
                data_dir: data_dir.clone(),
                token: TokenConfig::KeyFile,
                admin: ADMIN.parse()?,
            };
            init(options, Arc::new(SystemClock), Arc::new(SystemRandom)).await?;
        }
        if !token_file.exists() {
            write_private(&token_file, new_token().expose().as_bytes())?;
        }
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        let config = NodeConfig {
            data_dir,
            genesis: None,
            token: TokenConfig::KeyFile,
            link: LinkConfig { listen: vec![Address::Tcp(anywhere)] },
            rest: RestConfig {
                listen: anywhere,
                names: Vec::new(),
                token_file: Some(token_file.clone()),
                token_name: Some(ADMIN.parse()?),
            },
            attestation: AttestationConfig::default(),
            collateral: CollateralConfig::default(),
        };
        Ok(Self { config, token_file })
    }

    /// Serves it, on the ports that it had before where it was served before.
    pub(crate) async fn serve(&mut self, tap: Option<Arc<dyn RelayTap>>) -> Result<Node> {
        let config = self.config.clone();
        let options = NodeOptions { config, clock: Arc::new(SystemClock), random: Arc::new(SystemRandom), tap };
        let node = Node::start(options).await?;
        self.listen(node.addresses().link.clone(), node.addresses().rest);
        Ok(node)
    }

    /// Sets where it will be served.
    pub(crate) fn listen(&mut self, link: Vec<Address>, rest: SocketAddr) {
        self.config.link.listen = link;
        self.config.rest.listen = rest;
    }

    /// Where it was served last.
    pub(crate) fn addresses(&self) -> (Vec<Address>, SocketAddr) {
        (self.config.link.listen.clone(), self.config.rest.listen)
    }

    /// How a person logs in at `node`, which serves this domain.
    pub(crate) fn context(&self, node: &Node) -> burgrave_client::Context {
        burgrave_client::Context {
            server: format!("https://{}", node.addresses().rest),
            genesis: node.genesis(),
            token_file: Some(self.token_file.clone()),
            certificate: None,
            key: None,
        }
    }
}

/// A bearer token of 256 random bits, with a prefix by which a leaked one is found.
fn new_token() -> Secret<String> {
    let mut bytes = [0; 32];
    SystemRandom.fill(&mut bytes);
    Secret::new(format!("bgt_{}", URL_SAFE_NO_PAD.encode(Secret::new(bytes).expose())))
}

/// Writes a new file for its owner alone.
fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("`{}` cannot be written", path.display()))?;
    file.write_all(content).with_context(|| format!("`{}` cannot be written", path.display()))
}
