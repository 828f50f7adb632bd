//! `burgrave can` and `burgrave why`: decisions before and after they fall.

use burgrave_client::Client;
use burgrave_types::api::{AuthorizeRequest, DecisionFilter, DecisionSubject, Subject};
use burgrave_types::{DecisionId, EnclaveName, InstanceId, Operation, ParseError, Problem, ProblemCode, ResourceId};
use clap::Args;

use super::Outcome;
use crate::output::{Facts, Failure, Output, Tone, age, deadline, list};

/// A hypothetical question.
#[derive(Debug, Args)]
pub(crate) struct Can {
    /// An enclave, or an instance's id
    #[arg(value_parser = subject)]
    who: Subject,
    /// encrypt, decrypt, derive, send, receive or attest
    operation: Operation,
    /// `key/payments/pii`, `keyspace/payments/storage`; for send, receive and attest an enclave
    #[arg(value_name = "RESOURCE")]
    on: String,
    /// For send and receive: who is on the other side
    #[arg(long)]
    peer: Option<EnclaveName>,
}

/// A decision that fell.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// Its id, `dec_…`; the latest one about an enclave where it is not given
    decision: Option<DecisionId>,
}

/// Asks how a decision would fall.
pub(crate) async fn can(can: Can, client: &Client, output: &Output) -> Outcome {
    let Can { who: subject, operation, on, peer } = can;
    let resource = resource(operation, &on)?;
    let answer = client.can(&AuthorizeRequest { subject, operation, resource, peer }).await?;
    output.show(&answer, |answer| {
        let mut text = String::new();
        for case in &answer.cases {
            let verdict = match case.allowed {
                true => output.tone(Tone::Good, "yes"),
                false => output.tone(Tone::Bad, "no"),
            };
            text.push_str(&format!("{verdict}  {}\n", case.who));
            let near =
                case.near_misses.iter().map(|(policy, missing)| format!("`{policy}` would permit but for: {missing}"));
            for line in case.explanation.iter().cloned().chain(near.filter(|near| !case.explanation.contains(near))) {
                text.push_str(&format!("     {line}\n"));
            }
        }
        if answer.cases.is_empty() {
            text.push_str(&format!(
                "{}  nobody could ask: no fresh instance and no release that accepts any\n",
                output.tone(Tone::Bad, "no")
            ));
        }
        Ok(text)
    })?;
    let everywhere = !answer.cases.is_empty() && answer.cases.iter().all(|case| case.allowed);
    if everywhere { Ok(()) } else { Err(Failure::Quiet(ProblemCode::PolicyDenied.exit_code())) }
}

/// Explains a decision.
pub(crate) async fn why(why: Why, client: &Client, output: &Output) -> Outcome {
    let id = match why.decision {
        Some(id) => id,
        None => latest(client).await?,
    };
    output.show(&client.why(id).await?, |why| {
        let (decision, now) = (&why.decision, output.now());
        let outcome = match decision.allowed {
            true => output.tone(Tone::Good, "allowed"),
            false => output.tone(Tone::Bad, "denied"),
        };
        let asked = format!("{} {} {}", decision.principal, decision.operation, decision.resource);
        let facts = Facts::new(output)
            .fact("decision", decision.id)
            .fact("outcome", outcome)
            .fact("asked", asked)
            .maybe("enclave", decision.enclave.as_ref())
            .maybe("peer", decision.peer.as_ref())
            .fact("decided", age(now, decision.at))
            .fact("because", &decision.reason)
            .fact("by", list(&decision.determining))
            .maybe("attestation", decision.fresh_until.map(|until| deadline(now, until)))
            .fact("node", why.node)
            .fact("revision", decision.revision)
            .finish();
        let mut text = format!("{facts}\n");
        for line in &why.explanation {
            text.push_str(&format!("{line}\n"));
        }
        for (id, policy) in &why.policies {
            text.push_str(&format!("\n{}\n{policy}\n", output.tone(Tone::Heading, id)));
        }
        if let Some(claims) = &why.claims {
            let claims = super::evidence::claim_facts(Facts::new(output).fact("TEE", claims.tee), claims).finish();
            text.push_str(&format!("\n{}\n{claims}", output.tone(Tone::Heading, "Claims that it was made on")));
        }
        for part in &why.parts {
            let part = super::evidence::claim_facts(Facts::new(output).fact("TEE", part.tee), part).finish();
            text.push_str(&format!("\n{}\n{part}", output.tone(Tone::Heading, "Part beside it")));
        }
        Ok(text)
    })
}

/// The latest decision about an enclave: administrators' questions, this one among them, are decisions as well.
async fn latest(client: &Client) -> Result<DecisionId, Problem> {
    let of_enclaves = DecisionFilter { subject: Some(DecisionSubject::Enclave), limit: 1, ..DecisionFilter::default() };
    client.decisions(&of_enclaves).await?.first().map(|decision| decision.id).ok_or_else(|| {
        Problem::new(ProblemCode::NotFound, "no enclave has asked for anything yet")
            .with_fix("ask how a decision would fall: `burgrave can payments/api encrypt key/payments/pii`")
    })
}

fn subject(text: &str) -> Result<Subject, ParseError> {
    match text.parse::<InstanceId>() {
        Ok(instance) => Ok(Subject::Instance(instance)),
        Err(_) => text.parse().map(Subject::Enclave),
    }
}

/// The resource that `text` names; for communication and `attest` an enclave's name is enough.
fn resource(operation: Operation, text: &str) -> Result<ResourceId, Problem> {
    let named = match (operation, text.parse::<EnclaveName>()) {
        (Operation::Send | Operation::Receive, Ok(enclave)) => Ok(ResourceId::default_channel(&enclave)),
        (Operation::Attest, Ok(enclave)) => format!("enclave/{enclave}").parse(),
        _ => text.parse(),
    };
    named.map_err(|error: ParseError| Problem::new(ProblemCode::RequestInvalid, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_enclave_stands_for_its_channel_or_registration() {
        let named = |operation, text| resource(operation, text).unwrap().to_string();
        assert_eq!(named(Operation::Send, "payments/ledger"), "channel/payments/ledger/default");
        assert_eq!(named(Operation::Attest, "payments/ledger"), "enclave/payments/ledger");
        assert_eq!(named(Operation::Encrypt, "key/payments/pii"), "key/payments/pii");
        assert_eq!(resource(Operation::Encrypt, "pii").unwrap_err().code, ProblemCode::RequestInvalid);
    }
}
