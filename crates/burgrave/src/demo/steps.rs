//! The steps of the story, one function each.

mod keys;
mod talk;

use anyhow::{Context, Result};
use burgrave_attester::swtpm::Swtpm;
use burgrave_types::api::{InstanceFilter, NewKey, Page};
use burgrave_types::{DomainClass, InstanceId, ProblemCode};

use super::Broken;
use super::cast::{API_CODE, LEDGER_CODE, REPORT_CODE, ROGUE_CODE, measured, simulated};
use super::play::{Play, there};
use super::story::Story;

/// All of them in their order.
pub(super) async fn all(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    genesis(play, story).await?;
    registration(play, story).await?;
    attestation(play, story).await?;
    keys::release(play, story).await?;
    keys::data(play, story).await?;
    talk::channel(play, story).await?;
    talk::cut(play, story).await?;
    talk::revocation(play, story).await?;
    keys::restart(play, story).await
}

async fn genesis(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("A domain is made, named by the hash of its genesis record")?;
    play.serve("domain").await?;
    let client = play.client()?;
    let (trust, node) = client.verify_domain().await?;
    let body = &trust.genesis().body;
    story.note(format!("genesis {}", trust.genesis_hash()))?;
    story.note(format!("node    {}", node.spiffe_id))?;
    let proven = node.spiffe_id.node_id() == Some(body.node_id);
    story.expect(proven, "the node proves by its certificate that it belongs to that genesis", &node.spiffe_id)?;
    story.expect(trust.class() == DomainClass::Dev, "the domain says that it is of class dev", trust.class())?;
    let status = client.status().await?;
    let unwell: Vec<&str> = status.health.iter().filter(|part| !part.ok).map(|part| part.part.as_str()).collect();
    story.expect(unwell.is_empty(), "token, ledger and audit log can serve", unwell.join(", "))?;
    story.found(format!("genesis {}…", trust.genesis_hash().short()));
    Ok(())
}

async fn registration(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("Enclaves are registered: which code may bear which name, and what each may do")?;
    let cast = &play.cast;
    let mut enclaves = vec![
        simulated(&cast.api, if play.is_broken(Broken::Attest) { ROGUE_CODE } else { API_CODE })?,
        simulated(&cast.ledger, LEDGER_CODE)?,
        simulated(&cast.report, REPORT_CODE)?,
    ];
    match Swtpm::find() {
        None => story.note("no TPM plays: `swtpm` is not installed (apt-get install swtpm)")?,
        Some(_) => {
            let folder = play.folder.join("tpm");
            std::fs::create_dir(&folder).context("no folder for the TPM")?;
            let emulator = Swtpm::start(&folder)?;
            enclaves.push(measured(&cast.gateway, &emulator)?);
            play.emulator = Some(emulator);
        }
    }
    let client = play.client()?;
    for new in &enclaves {
        let made = client.create_enclave(new).await?;
        let digest = made.releases.first().map(|release| release.digest.short()).unwrap_or_default();
        story.note(format!("{:<17} {:<9} release v1, reference value {digest}…", made.name.to_string(), made.tee))?;
    }
    client.create_key(&NewKey { resource: play.cast.storage.clone() }).await?;
    let (api, ledger, report, storage) = (&play.cast.api, &play.cast.ledger, &play.cast.report, &play.cast.storage);
    play.allow(format!("{api} encrypt,decrypt,derive {storage}")).await?;
    play.allow(format!("{ledger} encrypt,decrypt,derive {storage}")).await?;
    if play.is_broken(Broken::Key) {
        play.allow(format!("{report} encrypt,decrypt,derive {storage}")).await?;
    }
    play.allow(format!("{ledger} receive {ledger} peer={api}")).await?;
    play.allow(format!("{ledger} send {api} peer={api}")).await?;
    play.allow(format!("{api} receive {api} peer={ledger}")).await?;
    let sending = play.allow(format!("{api} send {ledger} peer={ledger}")).await?;
    let policies = client.policies(&Page::default()).await?.items;
    for policy in policies.iter().filter(|policy| !policy.guard) {
        story.note(policy.rule.as_deref().unwrap_or(&policy.text))?;
    }
    let listed = client.enclaves(&Page::default()).await?.items.len();
    story.expect(listed == enclaves.len(), format!("{} enclaves are registered", enclaves.len()), listed)?;
    let nobody = client.instances(&InstanceFilter::default(), &Page::default()).await?.items;
    story.expect(nobody.is_empty(), "registering alone makes no instance", nobody.len())?;
    story.found(format!("{listed} enclaves, {} rules", policies.iter().filter(|policy| !policy.guard).count()));
    play.sending = Some(sending);
    Ok(())
}

async fn attestation(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("They attest; code that is not registered is refused")?;
    let simulated = |code: &str| format!("simulated:{code}");
    let api_code = if play.is_broken(Broken::Attest) { ROGUE_CODE } else { API_CODE };
    play.api = Some(play.enclave(&play.cast.api, &simulated(api_code))?);
    play.ledger = Some(play.enclave(&play.cast.ledger, &simulated(LEDGER_CODE))?);
    play.report = Some(play.enclave(&play.cast.report, &simulated(REPORT_CODE))?);
    if let Some(emulator) = &play.emulator {
        let attester = format!("tpm:unix:{}", emulator.socket().display());
        play.gateway = Some(play.enclave(&play.cast.gateway, &attester)?);
    }
    let rogue = play.enclave(&play.cast.api, &simulated(ROGUE_CODE))?;

    let gateway = async {
        match &play.gateway {
            Some(gateway) => gateway.attested().await.map(Some),
            None => Ok(None),
        }
    };
    let (api, ledger, report) = (there(&play.api)?, there(&play.ledger)?, there(&play.report)?);
    let (api, ledger, report, gateway, rogue) =
        tokio::try_join!(api.attested(), ledger.attested(), report.attested(), gateway, rogue.attested())?;
    let ledger_instance = story.granted(ledger, "payments/ledger is attested")?;
    let mut attested = vec![
        story.granted(api, "payments/api is attested")?,
        ledger_instance,
        story.granted(report, "analytics/report is attested")?,
    ];
    if let Some(gateway) = gateway {
        attested.push(story.granted(gateway, "boot/gateway is attested by its TPM")?);
    }
    for instance in &attested {
        shown(*instance, play, story).await?;
    }
    let refused = story.refused(rogue, format!("`{ROGUE_CODE}` is refused as payments/api"))?;
    let as_told =
        refused.code == ProblemCode::AttestationRejected && refused.cause.as_deref() == Some("measurement.unknown");
    story.expect(as_told, format!("`{ROGUE_CODE}` is refused: its measurement belongs to no release"), &refused)?;
    story.refusal(&refused)?;
    story.found(format!("{} attested, 1 refused ({})", attested.len(), refused.cause.as_deref().unwrap_or("-")));
    play.ledger_instance = Some(ledger_instance);
    Ok(())
}

/// Shows an instance with the claims of its evidence.
async fn shown(id: InstanceId, play: &Play, story: &mut Story<'_>) -> Result<()> {
    let instance = play.client()?.instance(id).await?;
    let claims = &instance.claims;
    let measured = match &claims.launch.measurement {
        Some(measurement) => format!("measurement {}…", measurement.to_string().chars().take(16).collect::<String>()),
        None => format!("{} PCRs measured", claims.registers.len()),
    };
    let what = format!("{} is fresh: {}, {measured}, release {}", instance.enclave, claims.tee, instance.release);
    story.expect(instance.standing.as_str() == "fresh", what, instance.standing.as_str())
}
