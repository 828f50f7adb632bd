//! Vendors' collateral: from the configuration to a store and what keeps it fresh.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use burgrave_collateral::{BaseUrl, CrlFolder, Directory, Http, Kds, Pace, Pccs, Refresher, Sources, Store};
use burgrave_control::Endorser;
use burgrave_types::{Clock, Random};
use burgrave_verifier::Roots;

use crate::config::CollateralConfig;
use crate::files::DataDir;

/// What evidence is judged with: `roots`, and a store of collateral. Where any source of collateral is configured, a revocation
/// list of AMD's is demanded, unless the configuration says otherwise; where makers of TPMs are, their certificates.
pub(crate) fn endorser(config: &CollateralConfig, roots: Roots, has_tpm_makers: bool) -> Endorser {
    let configured = !config.directories.is_empty() || config.kds_url.is_some();
    let endorser = Endorser::new(roots);
    let endorser = if has_tpm_makers { endorser.requiring_tpm_chain() } else { endorser };
    if config.require_snp_crl.unwrap_or(configured) { endorser.requiring_snp_crl() } else { endorser }
}

/// What keeps the store fresh, where any source is configured. Reads the file of authorities. What services give is kept
/// in the data folder, where the next start finds it.
pub(crate) fn refresher(
    config: &CollateralConfig,
    data: &DataDir,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Option<Refresher>> {
    let sources = sources(config)?;
    let has_service = !sources.pccs.is_empty() || !sources.kds.is_empty() || !sources.gpu_crls.is_empty();
    if sources.directories.is_empty() && !has_service {
        return Ok(None);
    }
    let mut pace = Pace::default();
    if let Some(minutes) = config.refresh_minutes {
        pace.interval = Duration::from_secs(u64::from(minutes.get()) * 60);
    }
    let mut refresher = Refresher::new(store, sources, pace, clock, random);
    if has_service {
        let spool = data.collateral();
        std::fs::create_dir_all(&spool).with_context(|| format!("`{}` cannot be made", spool.display()))?;
        refresher = refresher.with_spool(&spool);
    }
    Ok(Some(refresher))
}

fn sources(config: &CollateralConfig) -> Result<Sources> {
    let pccs = address("pccs_url", config.pccs_url.as_deref())?;
    let kds = address("kds_url", config.kds_url.as_deref())?;
    let gpu_crls = address("nvidia_crl_url", config.nvidia_crl_url.as_deref())?;
    let root_crl = config.root_crl_url.as_deref().map(root_crl).transpose()?;
    if root_crl.is_some() && pccs.is_none() {
        anyhow::bail!("`collateral.root_crl_url` is for the service of `collateral.pccs_url`, which is missing");
    }
    let hosts = [pccs.as_ref(), kds.as_ref(), gpu_crls.as_ref(), root_crl.as_ref().map(|(host, _)| host)];
    let http = client(config, hosts.into_iter().flatten().any(BaseUrl::is_https))?;
    let pccs = pccs.map(|base| {
        let pccs = Pccs::new(http.clone(), base);
        match root_crl {
            Some((host, path)) => pccs.with_root_crl(host, path),
            None => pccs,
        }
    });
    Ok(Sources {
        directories: config.directories.iter().map(Directory::new).collect(),
        pccs: pccs.into_iter().collect(),
        kds: kds.map(|base| Kds::new(http.clone(), base)).into_iter().collect(),
        gpu_crls: gpu_crls.map(|base| CrlFolder::new(http, base)).into_iter().collect(),
    })
}

fn client(config: &CollateralConfig, tls: bool) -> Result<Http> {
    let client = match &config.ca_file {
        Some(path) => {
            let pem = std::fs::read(path)
                .with_context(|| format!("`collateral.ca_file`: `{}` cannot be read", path.display()))?;
            Http::with_authorities(&pem, Http::TIMEOUT)
        }
        None if tls => Http::with_system_authorities(Http::TIMEOUT),
        None => Ok(Http::plain(Http::TIMEOUT)),
    };
    client.context("the services of `collateral` cannot be known over TLS")
}

fn address(option: &str, text: Option<&str>) -> Result<Option<BaseUrl>> {
    text.map(str::parse).transpose().with_context(|| format!("`collateral.{option}`"))
}

/// The address of one file, as host and path.
fn root_crl(text: &str) -> Result<(BaseUrl, String)> {
    let split = || {
        let (scheme, rest) = text.split_once("://")?;
        let (host, path) = rest.split_once('/')?;
        Some((format!("{scheme}://{host}"), format!("/{path}")))
    };
    let (host, path) = split().with_context(|| format!("`collateral.root_crl_url`: `{text}` names no file"))?;
    Ok((host.parse().context("`collateral.root_crl_url`")?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> CollateralConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn without_options_nothing_is_fetched() {
        let sources = sources(&config("")).unwrap();
        assert!(sources.directories.is_empty() && sources.pccs.is_empty() && sources.kds.is_empty());
    }

    #[test]
    fn every_source_can_be_configured() {
        let text = "directories = [\"/srv/collateral\"]\npccs_url = \"http://127.0.0.1:8081\"\nkds_url = \"http://[::1]/amd\"\n\
                    nvidia_crl_url = \"http://[::1]/crl\"\n\
                    root_crl_url = \"http://127.0.0.1/root.der\"\nrefresh_minutes = 90";
        let sources = sources(&config(text)).unwrap();
        assert_eq!((sources.directories.len(), sources.pccs.len(), sources.kds.len()), (1, 1, 1));
        assert_eq!(sources.gpu_crls.len(), 1);
    }

    #[test]
    fn what_is_no_address_is_named_with_its_option() {
        for (text, said) in [
            ("pccs_url = \"pccs.example.com\"", "collateral.pccs_url"),
            ("kds_url = \"ftp://example.com\"", "collateral.kds_url"),
            ("root_crl_url = \"http://example.com/a\"", "collateral.pccs_url"),
            ("pccs_url = \"http://h\"\nroot_crl_url = \"http://example.com\"", "collateral.root_crl_url"),
            ("kds_url = \"https://h\"\nca_file = \"/nowhere\"", "collateral.ca_file"),
        ] {
            let error = format!("{:#}", sources(&config(text)).unwrap_err());
            assert!(error.contains(said), "{text}: {error}");
        }
        assert!(toml::from_str::<CollateralConfig>("refresh_minutes = 0").is_err());
    }
}
