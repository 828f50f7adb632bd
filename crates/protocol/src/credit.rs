//! Credit: how many bytes of a channel may still be sent.
//!
//! Each direction of a channel starts with [`WINDOW`] bytes of credit. DATA spends its payload's length; CREDIT, sent by
//! the receiving application's end once it has consumed bytes, gives that many back. Credit travels end to end: the node
//! passes it on and keeps the same [`Credit`] account for each direction as the two ends do, so that what it queues for a
//! channel is never more than the window, whatever either end does.

/// The credit with which each direction of a channel starts, in bytes, and which it never exceeds.
pub const WINDOW: u32 = 256 * 1024;

/// The account of one direction of a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credit {
    available: u32,
}

/// Why a peer's use of credit is refused. Each cuts the channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CreditError {
    /// More was sent than there was credit for.
    #[error("{sent} bytes were sent where {available} were allowed")]
    Overrun {
        /// Bytes sent.
        sent: usize,
        /// Bytes allowed.
        available: u32,
    },
    /// More was given than was ever taken.
    #[error("{given} bytes of credit were given, which makes more than the window of {WINDOW}")]
    OverGrant {
        /// Bytes given.
        given: u32,
    },
}

impl Credit {
    /// A full window.
    pub fn new() -> Self {
        Self { available: WINDOW }
    }

    /// Bytes that may be sent now.
    pub fn available(&self) -> u32 {
        self.available
    }

    /// Accounts for `sent` bytes.
    ///
    /// # Errors
    /// [`CreditError::Overrun`] where there is less credit; the account stays as it was.
    pub fn spend(&mut self, sent: usize) -> Result<(), CreditError> {
        let overrun = CreditError::Overrun { sent, available: self.available };
        let left = u32::try_from(sent).ok().and_then(|sent| self.available.checked_sub(sent)).ok_or(overrun)?;
        self.available = left;
        Ok(())
    }

    /// Accounts for `given` bytes of new credit.
    ///
    /// # Errors
    /// [`CreditError::OverGrant`] where that would make more than the window; the account stays as it was.
    pub fn grant(&mut self, given: u32) -> Result<(), CreditError> {
        let sum = self.available.checked_add(given).filter(|sum| *sum <= WINDOW);
        self.available = sum.ok_or(CreditError::OverGrant { given })?;
        Ok(())
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self::new()
    }
}

/// The receiving end of one direction: refuses what oversteps the window, and says when to give credit back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receiver {
    credit: Credit,
    consumed: u32,
}

impl Receiver {
    /// Credit is given back in pieces of at least this many bytes, so that a reader of single bytes causes no flood.
    pub const STEP: u32 = WINDOW / 4;

    /// A receiver that has given a full window.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accounts for `received` bytes of DATA.
    ///
    /// # Errors
    /// [`CreditError::Overrun`] where the peer had less credit.
    pub fn receive(&mut self, received: usize) -> Result<(), CreditError> {
        self.credit.spend(received)
    }

    /// Accounts for `bytes` that the application has consumed of those received; gives the credit to send, where it is
    /// time for it.
    pub fn consume(&mut self, bytes: usize) -> Option<u32> {
        let outstanding = WINDOW - self.credit.available;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.consumed = self.consumed.saturating_add(bytes).min(outstanding);
        if self.consumed < Self::STEP {
            return None;
        }
        let give = std::mem::take(&mut self.consumed);
        self.credit.grant(give).ok()?;
        Some(give)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Send(usize),
        Deliver,
        Consume(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0usize..100_000).prop_map(Step::Send),
            Just(Step::Deliver),
            (0usize..200_000).prop_map(Step::Consume),
        ];
        proptest::collection::vec(step, 0..200)
    }

    proptest! {
        /// Sender, relay and receiver, each with its own account; frames and credit arrive whenever they do.
        #[test]
        fn a_sender_that_keeps_to_its_credit_never_oversteps_anywhere(steps in steps()) {
            let (mut sender, mut relay, mut receiver) = (Credit::new(), Credit::new(), Receiver::new());
            let (mut on_the_way, mut unread) = (Vec::new(), 0usize);
            for step in steps {
                match step {
                    Step::Send(bytes) => {
                        let bytes = bytes.min(sender.available() as usize);
                        sender.spend(bytes).unwrap();
                        relay.spend(bytes).unwrap();
                        on_the_way.push(bytes);
                    }
                    Step::Deliver => {
                        for bytes in on_the_way.drain(..) {
                            receiver.receive(bytes).unwrap();
                            unread += bytes;
                        }
                    }
                    Step::Consume(bytes) => {
                        let bytes = bytes.min(unread);
                        unread -= bytes;
                        if let Some(given) = receiver.consume(bytes) {
                            relay.grant(given).unwrap();
                            sender.grant(given).unwrap();
                        }
                    }
                }
                prop_assert!(on_the_way.iter().sum::<usize>() + unread <= WINDOW as usize);
            }
        }

        #[test]
        fn one_byte_beyond_the_credit_is_an_overrun(spent in 0u32..=WINDOW) {
            let mut credit = Credit::new();
            credit.spend(spent as usize).unwrap();
            let left = credit.clone();
            prop_assert!(credit.spend((WINDOW - spent) as usize + 1).is_err());
            prop_assert_eq!(&credit, &left);
            prop_assert!(credit.grant(spent + 1).is_err());
            prop_assert_eq!(credit, left);
        }
    }

    #[test]
    fn whoever_consumes_all_gets_to_send_again() {
        let mut receiver = Receiver::new();
        receiver.receive(WINDOW as usize).unwrap();
        assert_eq!(receiver.receive(1), Err(CreditError::Overrun { sent: 1, available: 0 }));
        assert_eq!(receiver.consume(10), None);
        assert_eq!(receiver.consume(WINDOW as usize), Some(WINDOW));
        receiver.receive(WINDOW as usize).unwrap();
    }
}
