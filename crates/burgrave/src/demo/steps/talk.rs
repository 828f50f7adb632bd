//! Two enclaves talk, a policy cuts them, a revocation ends one of them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use burgrave_types::api::{Residual, Revoked, Rotation};
use burgrave_types::{ChannelId, Problem, ProblemCode};

use crate::demo::Broken;
use crate::demo::enclave::Enclave;
use crate::demo::play::{Play, there};
use crate::demo::story::Story;
use crate::demo::tap::contains;

/// What is said, long enough to be looked for in what the node relays.
const QUESTION: &str = "please book 250.00 EUR from account DE02-1203 to account DE44-5001";
const ANSWER: &str = "booked under number 2026-11-000417, balance 9750.00 EUR";

/// How long a cut may take before it counts as none.
const CUT_PATIENCE: Duration = Duration::from_secs(5);

/// A conversation through the node, end to end encrypted.
pub(super) async fn channel(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("Two enclaves talk through the node, which sees ciphertext only")?;
    let (api, ledger) = (there(&play.api)?, there(&play.ledger)?);
    let there_channel = opened(api, ledger, story).await?;
    let back_channel = opened(ledger, api, story).await?;
    said(api, ledger, there_channel, story).await?;
    said(ledger, api, back_channel, story).await?;

    let relayed = play.tap.seen(there_channel);
    let enough = relayed.len() > QUESTION.len() + ANSWER.len();
    story.expect(enough, format!("the node relayed {} bytes of that conversation", relayed.len()), relayed.len())?;
    let clear = [QUESTION, ANSWER].iter().any(|text| contains(&relayed, text));
    story.expect(!clear, "no word of it stands in what the node relayed", "the text in clear")?;
    let words = ["booked", "account", "250.00"].iter().any(|word| contains(&relayed, word));
    story.expect(!words, "nor does any part of it", "a part of it in clear")?;
    story.found(format!("2 channels, {} bytes relayed, 0 of plaintext", relayed.len()));
    play.channels = Some((there_channel, back_channel));
    Ok(())
}

/// A policy change cuts one conversation; everything else goes on.
pub(super) async fn cut(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("A policy is deleted: that conversation is cut at once, all else goes on")?;
    let (cut, other) = play.channels.context("nobody talks")?;
    let (api, ledger) = (there(&play.api)?, there(&play.ledger)?);
    let policy = play.sending.as_ref().context("there is no such policy")?;
    let before = (api.link().await?, ledger.link().await?);
    ledger.work(&play.cast.storage).await?;

    let begun = Instant::now();
    let change = async {
        if !play.is_broken(Broken::Cut) {
            play.client()?.delete_policy(policy.id, policy.revision).await?;
        }
        anyhow::Ok(begun.elapsed())
    };
    let (answered, (api_told, api_after), (ledger_told, ledger_after)) =
        tokio::try_join!(change, ended(api, cut, begun), ended(ledger, cut, begun))?;
    story.note(format!("deleted: {}", policy.rule.as_deref().unwrap_or(&policy.text)))?;
    for (enclave, told, after) in [(api, &api_told, api_after), (ledger, &ledger_told, ledger_after)] {
        let what = format!("{} was cut {:.1} ms after the change was asked for", enclave.name(), millis(after));
        story.expect(told.code == ProblemCode::ChannelCut, what, told)?;
    }
    story.refusal(&api_told)?;
    let refused = story.refused(api.connect(ledger.name()).await?, "payments/api opens no new channel")?;
    story.expect(
        refused.code == ProblemCode::PolicyDenied,
        "a new channel is refused: no policy permits it",
        &refused,
    )?;

    said(ledger, api, other, story).await?;
    let (calls, failures, longest) = ledger.rest().await?;
    let working = calls > 0 && failures == 0;
    let what = format!("payments/ledger encrypted {calls} times meanwhile, without a failure (longest {longest} ms)");
    story.expect(working, what, format!("{failures} failures of {calls}"))?;
    let after = (api.link().await?, ledger.link().await?);
    story.expect(
        after == before,
        "nobody reconnected and nobody had to attest anew",
        format!("{before:?}, then {after:?}"),
    )?;
    let slowest = millis(answered.max(api_after).max(ledger_after));
    story.found(format!("cut within {slowest:.1} ms; {calls} calls meanwhile, {failures} failed"));
    Ok(())
}

/// A revocation ends an enclave's access.
pub(super) async fn revocation(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("An enclave is revoked: its access ends at once, and its released key is replaced")?;
    let (_, channel) = play.channels.context("nobody talks")?;
    let (api, ledger) = (there(&play.api)?, there(&play.ledger)?);
    let begun = Instant::now();
    let revoke = async {
        if play.is_broken(Broken::Revoke) {
            bail!("expected that payments/ledger is revoked; found that nothing was revoked");
        }
        let revoked = play.client()?.revoke_enclave(ledger.name(), "the demo says so").await?;
        anyhow::Ok((revoked, begun.elapsed()))
    };
    let ((revoked, returned), (told, _)) = tokio::try_join!(revoke, ended(api, channel, begun))?;
    let refused = story.refused(ledger.encrypt(&play.cast.storage, "x").await?, "payments/ledger is refused")?;
    let what = format!(
        "the next request of payments/ledger is refused ({:.1} ms after revoking was asked for)",
        millis(returned)
    );
    story.expect(refused.code == ProblemCode::Revoked, what, &refused)?;
    story.refusal(&refused)?;
    let instance = play.ledger_instance.context("payments/ledger was never attested")?;
    story.expect(revoked.instances.contains(&instance), "its instance is ended", revoked.instances.len())?;
    let cut = revoked.channels.contains(&channel) && told.code != ProblemCode::Internal;
    story.expect(
        cut,
        format!("its last channel is cut; payments/api is told \"{}\"", told.detail),
        revoked.channels.len(),
    )?;
    residue(&revoked, story)?;
    let answer = api.encrypt(&play.cast.storage, "y").await?;
    story.granted(answer, "payments/api goes on working")?;
    story.held("payments/api goes on working")?;
    story.found(format!("refused after {:.1} ms", millis(returned)));
    Ok(())
}

/// What a released key still opens, and what replaced it.
fn residue(revoked: &Revoked, story: &mut Story<'_>) -> Result<()> {
    for Rotation { resource, version, .. } in &revoked.rotated {
        story.note(format!("{resource}: version {version} from now on"))?;
    }
    for Residual { resource, versions, .. } in &revoked.residual {
        story.note(format!(
            "whoever kept its key can still read what was written to {resource} under version {versions:?}"
        ))?;
    }
    story.expect(
        !revoked.rotated.is_empty(),
        "its key had been released, so a new version begins",
        "no new version",
    )?;
    story.expect(!revoked.residual.is_empty(), "what the old one still opens is said", "nothing said")
}

async fn opened(from: &Enclave, to: &Enclave, story: &mut Story<'_>) -> Result<ChannelId> {
    let (opened, (accepted, peer)) = tokio::try_join!(from.connect(to.name()), to.accept())?;
    let opened = story.granted(opened, format!("{} opens a channel to {}", from.name(), to.name()))?;
    let proven = opened == accepted && peer.ends_with(&format!("/{}", from.name()));
    story.expect(proven, format!("{} accepts a channel from {peer}", to.name()), format!("{accepted} from {peer}"))?;
    Ok(opened)
}

/// A question and its answer.
async fn said(from: &Enclave, to: &Enclave, channel: ChannelId, story: &mut Story<'_>) -> Result<()> {
    from.send(channel, QUESTION).await?;
    let question = to.receive(channel, QUESTION.len()).await?;
    to.send(channel, ANSWER).await?;
    let answer = from.receive(channel, ANSWER.len()).await?;
    let whole = question == QUESTION && answer == ANSWER;
    story.expect(whole, format!("{} asks {}, and is answered", from.name(), to.name()), format!("{question}, {answer}"))
}

/// Waits for the end of a channel: why, and how long after `begun`.
async fn ended(enclave: &Enclave, channel: ChannelId, begun: Instant) -> Result<(Problem, Duration)> {
    match tokio::time::timeout(CUT_PATIENCE, enclave.ended(channel)).await {
        Ok(told) => Ok((told?, begun.elapsed())),
        Err(_) => bail!(
            "expected that `{}` is cut; found its channel open {CUT_PATIENCE:?} after the change was asked for",
            enclave.name()
        ),
    }
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
