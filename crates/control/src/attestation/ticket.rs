//! The second round with a TPM: a credential that only it can open, and a ticket that says what was verified so far.
//!
//! The node keeps nothing between the rounds. The ticket carries the admission and the hash of the secret under the node's
//! MAC; it is good for a minute, over the same link, once.

use burgrave_identity::spki_hash;
use burgrave_seal::sha256;
use burgrave_types::claims::HexBytes;
use burgrave_types::{Problem, Secret, Timestamp};
use burgrave_verifier::tpm::make_credential;
use serde::{Deserialize, Serialize};

use super::refuse;
use super::verify::{Accepted, Admission};
use crate::challenge::LIFETIME;
use crate::{Activation, AttestRequest, Control, LinkBinding};

const LABEL: &str = "burgrave-activation-ticket-v1";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ticket {
    expires: Timestamp,
    exporter: HexBytes,
    secret_hash: HexBytes,
    pub(super) admission: Admission,
}

impl Control {
    /// Makes the credential for the TPM, and the ticket.
    pub(super) fn ask_for_activation(
        &self,
        request: &AttestRequest,
        accepted: Accepted,
    ) -> Result<Activation, Problem> {
        let ak_name = accepted.admission.tpm.as_ref().map(|tpm| tpm.ak_name.as_bytes().to_vec()).unwrap_or_default();
        let mut bytes = [0; 32];
        self.random().fill(&mut bytes);
        let secret = Secret::new(bytes);
        let credential = make_credential(&accepted.ek_public, &ak_name, secret.expose(), self.random())
            .map_err(refuse::activation)?;
        let ticket = Ticket {
            expires: self.now() + LIFETIME,
            exporter: HexBytes(request.link.exporter.to_vec()),
            secret_hash: HexBytes(sha256(secret.expose()).to_vec()),
            admission: accepted.admission,
        };
        let bytes = serde_json::to_vec(&ticket).map_err(refuse::activation)?;
        Ok(Activation {
            id_object: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
            ticket: self.challenger().seal(LABEL, &bytes),
        })
    }

    /// Reads a ticket of this node's.
    pub(super) fn open_ticket(&self, ticket: &[u8]) -> Result<Ticket, Problem> {
        let content = self.challenger().unseal(LABEL, ticket);
        let content = content.ok_or_else(|| refuse::activation("the ticket is none of this node's"))?;
        serde_json::from_slice(content).map_err(refuse::activation)
    }

    /// Uses a ticket up, where it is in time, of this link, and the secret is the right one. `sealed` is the ticket as it came.
    pub(super) fn redeem(
        &self,
        ticket: &Ticket,
        sealed: &[u8],
        secret: &[u8],
        link: &LinkBinding,
    ) -> Result<(), Problem> {
        if self.now() >= ticket.expires {
            return Err(refuse::activation(format_args!("the ticket expired at {}", ticket.expires)));
        }
        let same_link =
            ticket.exporter.as_bytes() == link.exporter && ticket.admission.spki_hash == spki_hash(&link.identity_spki);
        if !same_link {
            return Err(refuse::activation("the ticket was given to another link"));
        }
        if sha256(secret).as_slice() != ticket.secret_hash.as_bytes() {
            return Err(refuse::activation("the secret is not the one in the credential"));
        }
        self.challenger().consume_digest(sha256(sealed), ticket.expires).map_err(refuse::challenge)
    }
}
