//! Making a trust domain: token and keys, genesis, ledger, and the first administrator.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use anyhow::{Context, Result, bail};
use burgrave_hsm::{SoftwareToken, Token, Unlock};
use burgrave_identity::{Genesis, GenesisBody, IdentityKey, OperatorSignature};
use burgrave_keyring::Keyring;
use burgrave_ledger::{Ledger, Unsealed};
use burgrave_store::RedbStore;
use burgrave_types::{Clock, DomainClass, GenesisHash, NodeId, Random, Segment, TrustDomain};

use crate::certificates::Issuer;
use crate::config::{NodeConfig, TokenConfig};
use crate::files::{self, DataDir};

/// What a new domain shall be.
pub struct InitOptions {
    /// Its name.
    pub trust_domain: TrustDomain,
    /// Its class, for good.
    pub class: DomainClass,
    /// The operators' keys (P-256). Empty: one is made and written into the data folder.
    pub operators: Vec<IdentityKey>,
    /// How many operators must sign a change of the domain's foundations. Absent: 1 in a `dev` domain, and an error in a
    /// `production` domain, which must say it.
    pub quorum: Option<u32>,
    /// The folder that will hold the domain; empty, or not there yet.
    pub data_dir: PathBuf,
    /// How the token will be opened.
    pub token: TokenConfig,
    /// The first administrator.
    pub admin: Segment,
}

/// A domain that was made.
#[derive(Debug)]
pub struct Initialized {
    /// The hash that names it.
    pub genesis: GenesisHash,
    /// Its first node.
    pub node: NodeId,
    /// The first administrator's certificate chain, PEM.
    pub admin_certificate: PathBuf,
    /// The first administrator's key, PEM, 0600.
    pub admin_key: PathBuf,
    /// The operator's key that was made, where none was given; keep it somewhere else.
    pub operator_key: Option<PathBuf>,
}

/// Makes a domain. Takes about a second where a passphrase is stretched.
///
/// Side effects: the data folder with token, ledger, CA certificate and the administrator's files; nothing in it is
/// overwritten.
///
/// # Errors
/// The folder holds something already, the options contradict each other, or a part below fails. What was begun stays,
/// to be looked at; start again in another folder.
pub async fn init(options: InitOptions, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Initialized> {
    let data = DataDir::new(&options.data_dir);
    let quorum = check(&options, &data)?;
    data.create()?;
    data.check()?;
    let token = create_token(&data, options.class, options.token.unlock()?).await?;
    let keyring = Arc::new(Keyring::create(token).await?);

    let (operators, operator_key) = operators(options.operators, &data)?;
    let keys = keyring.public_keys();
    let body = GenesisBody {
        trust_domain: options.trust_domain,
        class: options.class,
        operators: operators.iter().map(|key| key.spki().to_vec()).collect(),
        quorum,
        node_id: NodeId::random(&*random),
        node_identity: keys.node_identity.clone(),
        issuing_ca: keys.issuing_ca.clone(),
        head_signing: keys.head_signing.clone(),
        created: clock.now(),
    };
    let genesis = sign(body, &operators, &keyring).await?;
    let store = open_store(&data).await?;
    let (made_clock, made_random) = (Arc::clone(&clock), Arc::clone(&random));
    let ledger = Ledger::create(store, Arc::clone(&keyring), genesis.clone(), made_clock, made_random).await?;
    ledger.close().await;

    let issuer = Issuer::open(&data, &genesis, keyring, clock, random).await?;
    let (admin_certificate, admin_key) = write_admin(&issuer, &options.admin, data.path()).await?;
    Ok(Initialized { genesis: genesis.hash(), node: genesis.body.node_id, admin_certificate, admin_key, operator_key })
}

/// Issues a client certificate for a further (or the same, once its certificate ends) administrator into `folder`: the
/// chain and the key, PEM. The node must not run, since it holds the token.
///
/// # Errors
/// The domain cannot be opened, or files of that name are there already.
pub async fn issue_admin(
    config: &NodeConfig,
    name: &Segment,
    folder: &Path,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<(PathBuf, PathBuf)> {
    let data = DataDir::new(&config.data_dir);
    let Opened { unsealed, keyring, .. } = open_domain(config, &data).await?;
    let issuer = Issuer::open(&data, unsealed.genesis(), keyring, clock, random).await?;
    write_admin(&issuer, name, folder).await
}

/// What a domain's folder holds, opened.
pub(crate) struct Opened {
    pub(crate) unsealed: Unsealed,
    pub(crate) keyring: Arc<Keyring>,
    /// Gone once nothing holds the store any more.
    pub(crate) store: Weak<RedbStore>,
}

/// Opens token and store, and the keys that the store holds wrapped under the token's root.
pub(crate) async fn open_domain(config: &NodeConfig, data: &DataDir) -> Result<Opened> {
    data.check()?;
    let unlock = config.token.unlock()?;
    let path = data.token();
    let token = blocking(move || SoftwareToken::open(&path, &unlock)).await??;
    let store = open_store(data).await?;
    let held = Arc::downgrade(&store);
    let unsealed = Ledger::read_unsealed(store, config.genesis).await?;
    let keyring = Keyring::open(Token::from(token), unsealed.wrapped_keys()).await?;
    Ok(Opened { unsealed, keyring: Arc::new(keyring), store: held })
}

fn check(options: &InitOptions, data: &DataDir) -> Result<u32> {
    let production = options.class == DomainClass::Production;
    if production && options.token == TokenConfig::KeyFile {
        bail!("a production domain's token is opened by a passphrase, not by a key file beside it");
    }
    let quorum = match options.quorum {
        Some(quorum) => quorum,
        None if production => bail!(
            "a production domain must say how many operators sign a change of its foundations; with one, that operator alone \
             can change everything (`--quorum 1` says that this is meant)"
        ),
        None => 1,
    };
    let operators = options.operators.len().max(1);
    if quorum == 0 || quorum as usize > operators {
        bail!("a quorum of {quorum} cannot be met by {operators} operator(s)");
    }
    let occupied = std::fs::read_dir(data.path()).is_ok_and(|mut entries| entries.next().is_some());
    if occupied {
        bail!("`{}` is not empty; a domain is made in a folder of its own", data.path().display());
    }
    Ok(quorum)
}

async fn create_token(data: &DataDir, class: DomainClass, unlock: Unlock) -> Result<Token> {
    let path = data.token();
    let token = blocking(move || SoftwareToken::create(&path, class, &unlock)).await??;
    Ok(Token::from(token))
}

async fn open_store(data: &DataDir) -> Result<Arc<RedbStore>> {
    let path = data.ledger();
    Ok(Arc::new(blocking(move || RedbStore::open(&path)).await??))
}

/// The operators, and where the key was written that was made because none was given.
fn operators(given: Vec<IdentityKey>, data: &DataDir) -> Result<(Vec<IdentityKey>, Option<PathBuf>)> {
    if !given.is_empty() {
        return Ok((given, None));
    }
    let key = IdentityKey::generate()?;
    let path = data.path().join("operator-key.pem");
    files::write_new(&path, files::key_pem(&key.to_pkcs8()?)?.expose().as_bytes())?;
    Ok((vec![key], Some(path)))
}

async fn sign(body: GenesisBody, operators: &[IdentityKey], keyring: &Keyring) -> Result<Genesis> {
    let bytes = body.encode();
    let signatures = (0..)
        .zip(operators)
        .map(|(operator, key)| Ok(OperatorSignature { operator, signature: key.sign_der(&bytes)? }));
    let operator_signatures = signatures.collect::<Result<_>>()?;
    let node_signature = keyring.sign_as_node(&bytes).await?;
    let genesis = Genesis { body, operator_signatures, node_signature };
    genesis.verify().context("the genesis record that was made does not hold")?;
    Ok(genesis)
}

async fn write_admin(issuer: &Issuer, name: &Segment, folder: &Path) -> Result<(PathBuf, PathBuf)> {
    let (chain, key) = issuer.admin(name).await?;
    let certificate_path = folder.join(format!("admin-{name}.pem"));
    let key_path = folder.join(format!("admin-{name}-key.pem"));
    files::write_new(&key_path, files::key_pem(&key.to_pkcs8()?)?.expose().as_bytes())?;
    files::write_new(&certificate_path, files::certificates_pem(&chain)?.as_bytes())?;
    Ok((certificate_path, key_path))
}

/// Runs what blocks off the asynchronous threads.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("a blocking task ended without an answer")
}
