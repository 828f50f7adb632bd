//! The TPM's commands that are used here (TPM 2.0 Library Part 3).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use burgrave_types::Secret;

use super::command::{Command, Reader, ResponseError, response};
use super::transport::{Connection, Transport};
use crate::AttesterError;

const RH_OWNER: u32 = 0x4000_0001;
const RH_NULL: u32 = 0x4000_0007;
const RH_ENDORSEMENT: u32 = 0x4000_000b;
const ALG_SHA256: u16 = 0x000b;
const ALG_NULL: u16 = 0x0010;

/// How often a command is sent again when the TPM asks for that, and how long is waited in between.
const RETRIES: u32 = 200;
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// NV data is read in pieces that every TPM takes (TPM_PT_NV_BUFFER_MAX is at least 512).
const NV_PIECE: u16 = 512;

/// The longest certificate that is read.
const MAX_CERTIFICATE: u16 = 8192;

/// The index may be read by its own, here empty, password (TPMA_NV_AUTHREAD, Part 2, 13.4).
const NV_AUTHREAD: u32 = 1 << 18;

/// A TPM that is listening.
pub(super) struct Tpm(Connection);

/// A key in a slot of the TPM.
pub(super) struct Loaded {
    pub(super) handle: u32,
    /// Its `TPMT_PUBLIC`.
    pub(super) public: Vec<u8>,
}

/// What a quote gives: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
pub(super) type Quote = (Vec<u8>, Vec<u8>);

impl Tpm {
    pub(super) fn connect(transport: &Transport) -> Result<Self, AttesterError> {
        transport.connect().map(Self)
    }

    /// Makes a primary key of the endorsement hierarchy, lets `work` use it, and flushes it, whatever came of the work.
    pub(super) fn with_primary<T>(
        &mut self,
        template: Vec<u8>,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, AttesterError>,
    ) -> Result<T, AttesterError> {
        let command = Command::new("TPM2_CreatePrimary", 0x131)
            .with_password(RH_ENDORSEMENT)
            .sized(&[0; 4]) // neither password nor data
            .sized(&template)
            .sized(&[]) // outside info
            .u32(0); // creation PCRs
        let (handle, public) = self.run(&command, true, parse::created)?;
        let result = work(self, &Loaded { handle, public });
        let flushed = self.flush(handle);
        result.and_then(|value| flushed.map(|()| value))
    }

    pub(super) fn read_pcrs(&mut self, pcrs: &BTreeSet<u8>) -> Result<BTreeMap<u8, Vec<u8>>, AttesterError> {
        let mut values = BTreeMap::new();
        let mut missing = pcrs.clone();
        // A TPM gives at most eight values at a time and says which.
        while !missing.is_empty() {
            let command = Command::new("TPM2_PCR_Read", 0x17e).raw(&selection(&missing));
            let (_, read) = self.run(&command, false, parse::pcrs)?;
            let before = missing.len();
            missing.retain(|pcr| !read.contains_key(pcr));
            values.extend(read.into_iter().filter(|(pcr, _)| pcrs.contains(pcr)));
            if missing.len() == before {
                let why = "it holds none of the PCRs asked for; the SHA-256 bank must be active";
                return Err(AttesterError::Malformed { command: command.name, why });
            }
        }
        Ok(values)
    }

    pub(super) fn extend_pcr(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), AttesterError> {
        let command =
            Command::new("TPM2_PCR_Extend", 0x182).with_password(pcr.into()).u32(1).u16(ALG_SHA256).raw(digest);
        self.run(&command, false, parse::nothing).map(|_| ())
    }

    pub(super) fn quote(&mut self, ak: u32, pcrs: &BTreeSet<u8>, data: &[u8]) -> Result<Quote, AttesterError> {
        let command =
            Command::new("TPM2_Quote", 0x158).with_password(ak).sized(data).u16(ALG_NULL).raw(&selection(pcrs));
        self.run(&command, false, parse::quote).map(|(_, quote)| quote)
    }

    /// The certificate in an NV index, or none where there is no such index or it may not be read without a password.
    pub(super) fn read_certificate(&mut self, index: u32) -> Result<Option<Vec<u8>>, AttesterError> {
        let public = Command::new("TPM2_NV_ReadPublic", 0x169).handle(index);
        let (attributes, size) = match self.run(&public, false, parse::nv_public) {
            Ok((_, found)) => found,
            Err(AttesterError::Refused { code, .. }) if code.is_no_such_handle() => return Ok(None),
            Err(error) => return Err(error),
        };
        if attributes & NV_AUTHREAD == 0 || size > MAX_CERTIFICATE {
            return Ok(None);
        }
        let data = self.read_nv(index, index, size)?;
        Ok(der_length(&data).and_then(|length| data.get(..length)).map(<[u8]>::to_vec))
    }

    /// What the platform's owner may read of an NV index; none where there is no such index.
    pub(super) fn read_owners(&mut self, index: u32) -> Result<Option<Vec<u8>>, AttesterError> {
        let public = Command::new("TPM2_NV_ReadPublic", 0x169).handle(index);
        match self.run(&public, false, parse::nv_public) {
            Ok((_, (_, size))) => self.read_nv(RH_OWNER, index, size).map(Some),
            Err(AttesterError::Refused { code, .. }) if code.is_no_such_handle() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first `size` bytes of an NV index, by the empty password of `authority`.
    fn read_nv(&mut self, authority: u32, index: u32, size: u16) -> Result<Vec<u8>, AttesterError> {
        let mut data = Vec::new();
        let mut offset = 0;
        while offset < size {
            let piece = NV_PIECE.min(size - offset);
            let read =
                Command::new("TPM2_NV_Read", 0x14e).with_password(authority).handle(index).u16(piece).u16(offset);
            data.extend(self.run(&read, false, parse::sized)?.1);
            offset += piece;
        }
        Ok(data)
    }

    /// Opens a credential. The EK's policy is PolicySecret over the endorsement hierarchy, whose password is empty.
    pub(super) fn activate_credential(
        &mut self,
        ak: u32,
        ek: u32,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Result<Secret<Vec<u8>>, AttesterError> {
        let session = self.start_policy_session()?;
        let policy = Command::new("TPM2_PolicySecret", 0x151)
            .with_password(RH_ENDORSEMENT)
            .handle(session)
            .sized(&[]) // nonce of the TPM
            .sized(&[]) // command parameters
            .sized(&[]) // policy reference
            .u32(0); // no expiry
        let activate = Command::new("TPM2_ActivateCredential", 0x147)
            .with_password(ak)
            .with_session(ek, session)
            .raw(id_object)
            .raw(encrypted_secret);
        let secret = self
            .run(&policy, false, parse::nothing)
            .and_then(|_| self.run(&activate, false, |reader| parse::sized(reader).map(Secret::new)));
        match secret {
            Ok((_, secret)) => Ok(secret), // the session ended with the command
            Err(error) => {
                // The first failure is the one to tell; where the session ended already, this one is no news.
                let _ = self.flush(session);
                Err(error)
            }
        }
    }

    fn start_policy_session(&mut self) -> Result<u32, AttesterError> {
        // The session is neither salted nor bound and signs nothing, so its nonce protects nothing.
        let command = Command::new("TPM2_StartAuthSession", 0x176)
            .handle(RH_NULL)
            .handle(RH_NULL)
            .sized(&[0; 32]) // nonce of the caller
            .sized(&[]) // salt
            .u8(1) // a policy session
            .u16(ALG_NULL)
            .u16(ALG_SHA256);
        self.run(&command, true, parse::nothing).map(|(handle, ())| handle)
    }

    fn flush(&mut self, handle: u32) -> Result<(), AttesterError> {
        self.run(&Command::new("TPM2_FlushContext", 0x165).u32(handle), false, parse::nothing).map(|_| ())
    }

    /// Runs a command that this crate needs for making a TPM alone.
    #[cfg(test)]
    pub(super) fn do_it(&mut self, command: &Command) {
        self.run(command, false, parse::nothing).unwrap();
    }

    /// Sends a command, again where the TPM asks for that, and reads the answer with `parse`.
    fn run<T>(
        &mut self,
        command: &Command,
        has_handle: bool,
        parse: impl Fn(Reader<'_>) -> Result<T, ResponseError>,
    ) -> Result<(u32, T), AttesterError> {
        let bytes = command.encode();
        let mut retries = RETRIES;
        loop {
            let answer = Secret::new(self.0.exchange(command.name, &bytes)?);
            let parsed = response(answer.expose(), has_handle)
                .and_then(|(handle, parameters)| parse(parameters).map(|value| (handle, value)));
            match parsed {
                Ok(parsed) => return Ok(parsed),
                Err(ResponseError::Malformed(why)) => {
                    return Err(AttesterError::Malformed { command: command.name, why });
                }
                Err(ResponseError::Refused(code)) if code.is_retry() && retries > 0 => {
                    retries -= 1;
                    pause();
                }
                Err(ResponseError::Refused(code)) => {
                    return Err(AttesterError::Refused { command: command.name, code });
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a busy TPM has no way to say when to come back")]
fn pause() {
    std::thread::sleep(RETRY_PAUSE);
}

/// `TPML_PCR_SELECTION` of one bank (Part 2, 10.9.7 and 10.6.1).
fn selection(pcrs: &BTreeSet<u8>) -> [u8; 10] {
    let bits = pcrs.iter().filter(|pcr| **pcr < 24).fold(0u32, |bits, pcr| bits | 1 << pcr);
    let [low, middle, high, _] = bits.to_le_bytes();
    let [a0, a1] = ALG_SHA256.to_be_bytes();
    [0, 0, 0, 1, a0, a1, 3, low, middle, high]
}

/// The length of the DER value at the start, header included: what follows it in an NV index is padding.
fn der_length(data: &[u8]) -> Option<usize> {
    match data {
        [0x30, 0x82, high, low, ..] => Some(4 + usize::from(u16::from_be_bytes([*high, *low]))),
        [0x30, 0x81, length, ..] => Some(3 + usize::from(*length)),
        [0x30, length @ 0..=0x7f, ..] => Some(2 + usize::from(*length)),
        _ => None,
    }
}

/// What the answers hold.
mod parse {
    use super::{ALG_SHA256, BTreeMap, Quote, Reader, ResponseError};

    pub(super) fn nothing(_: Reader<'_>) -> Result<(), ResponseError> {
        Ok(())
    }

    pub(super) fn sized(mut reader: Reader<'_>) -> Result<Vec<u8>, ResponseError> {
        reader.sized().map(<[u8]>::to_vec)
    }

    /// The public area of a new key; creation data, hash, ticket and name follow.
    pub(super) fn created(reader: Reader<'_>) -> Result<Vec<u8>, ResponseError> {
        let public = sized(reader)?;
        if public.is_empty() { Err(ResponseError::Malformed("the public area is empty")) } else { Ok(public) }
    }

    pub(super) fn quote(mut reader: Reader<'_>) -> Result<Quote, ResponseError> {
        Ok((reader.sized()?.to_vec(), reader.rest().to_vec()))
    }

    /// The attributes and the size of an NV index (`TPMS_NV_PUBLIC`, Part 2, 13.5).
    pub(super) fn nv_public(mut reader: Reader<'_>) -> Result<(u32, u16), ResponseError> {
        let (_size, _index, _name_algorithm) = (reader.u16()?, reader.u32()?, reader.u16()?);
        let attributes = reader.u32()?;
        let _policy = reader.sized()?;
        Ok((attributes, reader.u16()?))
    }

    /// PCR values by index, out of the selection and the list of digests that the TPM gives.
    pub(super) fn pcrs(mut reader: Reader<'_>) -> Result<BTreeMap<u8, Vec<u8>>, ResponseError> {
        let _update_counter = reader.u32()?;
        let mut indices = Vec::new();
        for _ in 0..reader.u32()?.min(16) {
            if reader.u16()? != ALG_SHA256 {
                return Err(ResponseError::Malformed("it selects another bank than SHA-256"));
            }
            let length = reader.u8()?;
            let bits = reader.take(length.into())?;
            indices.extend(
                (0..=u8::MAX)
                    .filter(|pcr| bits.get(usize::from(pcr / 8)).is_some_and(|byte| byte >> (pcr % 8) & 1 == 1)),
            );
        }
        let count = reader.u32()?;
        if count as usize != indices.len() {
            return Err(ResponseError::Malformed("it holds another number of PCR values than it selects"));
        }
        indices.into_iter().map(|index| Ok((index, digest(reader.sized()?)?))).collect::<Result<_, _>>().and_then(
            |values: BTreeMap<u8, Vec<u8>>| {
                if values.len() == count as usize {
                    Ok(values)
                } else {
                    Err(ResponseError::Malformed("it selects a PCR twice"))
                }
            },
        )
    }

    fn digest(value: &[u8]) -> Result<Vec<u8>, ResponseError> {
        if value.len() == 32 {
            Ok(value.to_vec())
        } else {
            Err(ResponseError::Malformed("a PCR value is not 32 bytes"))
        }
    }
}

/// Reads `bytes` as every answer; for the fuzz target.
pub(super) fn fuzz(bytes: &[u8]) {
    for has_handle in [false, true] {
        if let Ok((_, reader)) = response(bytes, has_handle) {
            let _ = parse::created(reader);
            let _ = parse::quote(reader);
            let _ = parse::nv_public(reader);
            let _ = parse::pcrs(reader);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_names_each_pcr_by_its_bit() {
        assert_eq!(selection(&[0, 7, 8, 23].into()), [0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0x01, 0x80]);
    }

    #[test]
    fn padding_after_a_certificate_is_not_part_of_it() {
        assert_eq!(der_length(&[0x30, 0x82, 1, 2, 0, 0]), Some(262));
        assert_eq!(der_length(&[0x30, 3, 1, 2, 3, 0xff]), Some(5));
        assert_eq!(der_length(&[0xff, 0xff]), None);
    }
}
