//! Commands and answers as bytes (TPM 2.0 Library Part 1, 18; Part 3, 5).

use super::code::ResponseCode;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;

/// TPM_RS_PW: authorisation by a password.
const PASSWORD: u32 = 0x4000_0009;

/// A command under construction.
#[derive(Clone, Debug)]
pub(super) struct Command {
    pub(super) name: &'static str,
    code: u32,
    handles: Vec<u32>,
    sessions: Vec<u32>,
    parameters: Vec<u8>,
}

impl Command {
    pub(super) fn new(name: &'static str, code: u32) -> Self {
        Self { name, code, handles: Vec::new(), sessions: Vec::new(), parameters: Vec::new() }
    }

    /// Adds a handle that needs no authorisation.
    pub(super) fn handle(mut self, handle: u32) -> Self {
        self.handles.push(handle);
        self
    }

    /// Adds a handle that is authorised by its empty password.
    pub(super) fn with_password(self, handle: u32) -> Self {
        self.with_session(handle, PASSWORD)
    }

    /// Adds a handle that is authorised by a policy session, which ends with this command.
    pub(super) fn with_session(mut self, handle: u32, session: u32) -> Self {
        self.sessions.push(session);
        self.handle(handle)
    }

    pub(super) fn u8(mut self, value: u8) -> Self {
        self.parameters.push(value);
        self
    }

    pub(super) fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    pub(super) fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Adds a parameter that is marshalled already.
    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.parameters.extend_from_slice(bytes);
        self
    }

    /// Adds a `TPM2B`: the size, then the bytes.
    pub(super) fn sized(self, bytes: &[u8]) -> Self {
        self.u16(u16::try_from(bytes.len()).unwrap_or(u16::MAX)).raw(bytes)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body: Vec<u8> = self.handles.iter().flat_map(|handle| handle.to_be_bytes()).collect();
        if !self.sessions.is_empty() {
            // Each session with an empty nonce, no attribute and an empty HMAC.
            let area: Vec<u8> = self.sessions.iter().flat_map(|s| s.to_be_bytes().into_iter().chain([0; 5])).collect();
            body.extend_from_slice(&length(area.len()));
            body.extend_from_slice(&area);
        }
        body.extend_from_slice(&self.parameters);
        let tag = if self.sessions.is_empty() { TAG_NO_SESSIONS } else { TAG_SESSIONS };
        [&tag.to_be_bytes()[..], &length(body.len() + 10), &self.code.to_be_bytes(), &body].concat()
    }
}

fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes()
}

/// Why an answer cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResponseError {
    Refused(ResponseCode),
    Malformed(&'static str),
}

/// The parts of a successful answer: the handle where the command gives one, and the parameters.
pub(super) fn response(bytes: &[u8], has_handle: bool) -> Result<(u32, Reader<'_>), ResponseError> {
    let mut reader = Reader(bytes);
    let tag = reader.u16()?;
    if reader.u32()? as usize != bytes.len() {
        return Err(ResponseError::Malformed("it has another length than it says"));
    }
    let code = ResponseCode(reader.u32()?);
    if code != ResponseCode::SUCCESS {
        return Err(ResponseError::Refused(code));
    }
    let handle = if has_handle { reader.u32()? } else { 0 };
    match tag {
        TAG_NO_SESSIONS => Ok((handle, reader)),
        TAG_SESSIONS => {
            let size = reader.u32()? as usize;
            Ok((handle, Reader(reader.take(size)?)))
        }
        _ => Err(ResponseError::Malformed("its tag is unknown")),
    }
}

/// Reads what a TPM marshalled; never beyond the input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: usize) -> Result<&'a [u8], ResponseError> {
        let (taken, rest) =
            self.0.split_at_checked(length).ok_or(ResponseError::Malformed("it ends inside a field"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ResponseError> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| ResponseError::Malformed("it ends inside a field"))
    }

    pub(super) fn u8(&mut self) -> Result<u8, ResponseError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ResponseError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ResponseError> {
        self.array().map(u32::from_be_bytes)
    }

    /// A `TPM2B`'s bytes.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], ResponseError> {
        let size = self.u16()?;
        self.take(size.into())
    }

    /// What is left.
    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_stands_as_the_specification_has_it() {
        let command = Command::new("TPM2_PCR_Extend", 0x182).with_password(16).u32(1).u16(0x000b).raw(&[0xaa; 2]);
        let expected = "80020000002300000182\
                        00000010\
                        00000009400000090000000000\
                        00000001000baaaa";
        let shown: String = command.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_wrong_length_and_an_unknown_tag_are_refused() {
        let good = [0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0];
        assert!(response(&good, false).is_ok());
        assert!(response(&good, true).is_err());
        for (at, byte) in [(5, 11), (5, 9), (1, 3)] {
            let mut bad = good;
            bad[at] = byte;
            assert!(matches!(response(&bad, false), Err(ResponseError::Malformed(_))), "{at}");
        }
        assert_eq!(
            response(&[0x80, 0x01, 0, 0, 0, 10, 0, 0, 9, 0x22], true).unwrap_err(),
            ResponseError::Refused(ResponseCode(0x922)),
        );
    }

    proptest! {
        #[test]
        fn arbitrary_answers_never_panic(bytes: Vec<u8>, code in 0u32..3) {
            super::super::fuzz_response(&bytes);
            let framed = [&[0x80, 0x02][..], &length(bytes.len() + 10), &code.to_be_bytes(), &bytes].concat();
            super::super::fuzz_response(&framed);
        }
    }
}
