//! A TPM's response codes (TPM 2.0 Library Part 2, 6.6).

use std::fmt;

/// What a TPM answered instead of doing what it was asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseCode(pub u32);

impl ResponseCode {
    pub(super) const SUCCESS: Self = Self(0);
    const YIELDED: Self = Self(0x908);
    const TESTING: Self = Self(0x90a);
    const RETRY: Self = Self(0x922);
    const HANDLE: Self = Self(0x08b);

    /// Whether the same command may be sent again as it is.
    pub(super) fn is_retry(self) -> bool {
        matches!(self, Self::RETRY | Self::TESTING | Self::YIELDED)
    }

    /// Whether a handle names nothing: how an NV index that is not there is answered.
    pub(super) fn is_no_such_handle(self) -> bool {
        self.base() == Self::HANDLE
    }

    /// The code without the number of the handle, session or parameter that a format-one code carries (6.6.2).
    fn base(self) -> Self {
        if self.0 & 0x80 == 0 { self } else { Self(self.0 & 0xbf) }
    }

    fn meaning(self) -> &'static str {
        match self.base().0 {
            0x101 => "the TPM is in failure mode; restart the machine",
            0x120 => "the TPM has not been started",
            0x143 => "the TPM does not know this command",
            0x902 => "no slot is free for a key; flush transient objects or use the resource manager /dev/tpmrm0",
            0x903 | 0x905 => "no slot is free for a session; flush sessions or use the resource manager /dev/tpmrm0",
            0x90a => "it is still testing itself",
            0x921 => "it is locked out after too many failed authorisations",
            0x922 => "it asks to try again",
            0x923 => "a write to NV is throttled",
            0x084 => "a value is out of range",
            0x085 => "it does not know this hierarchy, or it is disabled",
            0x08b => "the handle names nothing",
            0x08e | 0x0a2 => "the authorisation is wrong; the endorsement hierarchy must have an empty password",
            0x095 => "a size is wrong",
            0x098 => "the tag is wrong",
            0x09d => "the policy does not hold",
            0x09f => "the credential was not made for this attestation key and endorsement key",
            _ => "see TPM 2.0 Library Part 2, 6.6",
        }
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {:#05x}, {}", self.0, self.meaning())
    }
}

impl fmt::Debug for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_one_code_is_known_whatever_it_counts() {
        // TPM_RC_HANDLE for handle 1 and TPM_RC_INTEGRITY for parameter 1.
        assert!(ResponseCode(0x18b).is_no_such_handle());
        assert!(ResponseCode(0x1df).to_string().contains("not made for this attestation key"));
        assert!(ResponseCode(0x922).is_retry() && !ResponseCode(0x902).is_retry());
    }
}
