//! Keys that belong to an enclave's identity: released, used, and the same after a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use burgrave_types::{Problem, ProblemCode};

use crate::demo::Broken;
use crate::demo::cast::API_CODE;
use crate::demo::play::{Play, there};
use crate::demo::story::Story;

/// What is encrypted in the story.
const CARD: &str = "4111 1111 1111 1111";

/// One gets its key, another is refused and told why.
pub(super) async fn release(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("One enclave gets a key; another is refused, and the reason can be asked for")?;
    let storage = &play.cast.storage;
    let (api, report) = (there(&play.api)?, there(&play.report)?);
    let key = story.granted(api.key(storage).await?, "payments/api gets its key")?;
    story.held(format!("payments/api gets its key of {storage}, sealed to it (fingerprint {key})"))?;

    let refused = story.refused(report.key(storage).await?, "analytics/report is refused")?;
    let denied = refused.code == ProblemCode::PolicyDenied;
    story.expect(denied, "analytics/report is refused: no policy permits it", &refused)?;
    let decision = refused.decision_id.context("a denial without a decision's id")?;
    let why = play.client()?.why(decision).await?;
    story.note(format!("burgrave why {decision}"))?;
    for line in &why.explanation {
        story.note(line)?;
    }
    let told = !why.decision.allowed && !why.explanation.is_empty();
    story.expect(told, "the record of that decision says why, and what would change it", &why.decision.reason)?;
    story.found(format!("key {key}; 1 denied"));
    Ok(())
}

/// Data under keys that follow from identity.
pub(super) async fn data(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("Data is encrypted under a key that follows from the enclave's identity")?;
    let storage = &play.cast.storage;
    let (api, ledger) = (there(&play.api)?, there(&play.ledger)?);
    let ciphertext = story.granted(api.encrypt(storage, CARD).await?, "payments/api encrypts")?;
    let clear = ciphertext.contains(CARD);
    story.expect(
        !clear,
        format!("payments/api encrypts a card number to {} characters", ciphertext.len()),
        "it in clear",
    )?;
    let opened = story.granted(api.decrypt(&ciphertext).await?, "payments/api decrypts what it encrypted")?;
    story.expect(opened == CARD, "payments/api decrypts it again", &opened)?;

    let own = story.granted(api.key(storage).await?, "payments/api gets its key again")?;
    let other = story.granted(ledger.key(storage).await?, "payments/ledger gets its key")?;
    let differ = own != other;
    story.expect(
        differ,
        format!("the same request by payments/ledger gives another key ({other}, not {own})"),
        &other,
    )?;
    let refused = story.refused(ledger.decrypt(&ciphertext).await?, "payments/ledger cannot decrypt it")?;
    let unreadable = refused.code == ProblemCode::CiphertextInvalid;
    story.expect(
        unreadable,
        "payments/ledger cannot decrypt it, allowed though it is to use the keyspace",
        &refused,
    )?;
    story.refusal(&refused)?;
    story.found(format!("keys {own} and {other}"));
    play.secret = Some((ciphertext, own));
    Ok(())
}

/// The node stops and starts: the same keys, the same standings, the same revocation.
pub(super) async fn restart(play: &mut Play, story: &mut Story<'_>) -> Result<()> {
    story.step("The node restarts: the same enclave has the same key, also in another run")?;
    let (ciphertext, key) = play.secret.clone().context("nothing was encrypted")?;
    let (attestations, lost) = there(&play.api)?.link().await?;
    play.node.take().context("there is no node")?.shutdown().await;
    let begun = Instant::now();
    play.serve(if play.is_broken(Broken::Restart) { "other-domain" } else { "domain" }).await?;
    story.note(format!("down and up again; it serves {} ms after it was started", begun.elapsed().as_millis()))?;

    let api = there(&play.api)?;
    let same = story.granted(until_linked(play, begun).await?, "payments/api gets its key after the restart")?;
    story.expect(same == key, format!("payments/api has the key {key} again"), &same)?;
    let (again, lost_again) = api.link().await?;
    story.expect(lost_again == lost + 1, "it came back by itself", lost_again)?;
    story.expect(again == attestations, "it kept its standing, and was not asked to attest anew", again)?;
    let opened = story.granted(api.decrypt(&ciphertext).await?, "payments/api decrypts what it encrypted before")?;
    story.expect(opened == CARD, "it decrypts what it encrypted before", &opened)?;

    let second = play.enclave(&play.cast.api, &format!("simulated:{API_CODE}"))?;
    story.granted(second.attested().await?, "another run of payments/api is attested")?;
    let second_key = story.granted(second.key(&play.cast.storage).await?, "the other run gets its key")?;
    story.expect(
        second_key == key,
        "another run of the same code, with keys of its own, has the same key",
        &second_key,
    )?;

    let ledger = play.ledger_instance.context("payments/ledger was never attested")?;
    let standing = play.client()?.instance(ledger).await?.standing;
    story.expect(standing.as_str() == "revoked", "what was revoked is still revoked", standing.as_str())?;
    story.found(format!("key {second_key} in both runs"));
    Ok(())
}

/// Asks for the key until the agent has its link again.
async fn until_linked(play: &Play, begun: Instant) -> Result<Result<String, Problem>> {
    loop {
        let answer = there(&play.api)?.key(&play.cast.storage).await?;
        match &answer {
            Err(problem) if problem.code == ProblemCode::Unavailable && begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            _ => return Ok(answer),
        }
    }
}
