//! What never goes back: the highest number and date of each thing that a configured source has given.

use std::collections::BTreeMap;
use std::fmt;

use burgrave_types::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Subject;

/// A vendor's number of any length, e.g. `cRLNumber` (RFC 5280, section 5.2.3: up to 20 octets). Its text is hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Number(Vec<u8>);

impl Number {
    /// From big-endian bytes; zeros in front do not count.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        Self(bytes.iter().copied().skip_while(|byte| *byte == 0).collect())
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::from_be_bytes(&number.to_be_bytes())
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Decimal as far as 16 bytes reach, which is how vendors write them; hexadecimal beyond.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() > 16 {
            return write!(f, "0x{}", hex::encode(&self.0));
        }
        write!(f, "{}", self.0.iter().fold(0u128, |number, byte| (number << 8) | u128::from(*byte)))
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        hex::decode(text.as_bytes()).map(|bytes| Self::from_be_bytes(&bytes)).map_err(serde::de::Error::custom)
    }
}

/// How new something is: its number and the day it was made.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// The vendor's number; 0 where there is none.
    pub number: Number,
    /// `thisUpdate`, `issueDate` or `notBefore`.
    pub issued: Timestamp,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "number {} of {}", self.number, self.issued)
    }
}

/// The lowest marks that are still taken. The caller keeps them where nobody can set them back (a sealed ledger), and gives
/// them to [`Store::new`](crate::Store::new) at the next start.
///
/// ```
/// use burgrave_collateral::Floors;
/// let floors = Floors::default();
/// assert_eq!(serde_json::from_str::<Floors>(&serde_json::to_string(&floors)?)?, floors);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Vec<Floor>", into = "Vec<Floor>")]
pub struct Floors(BTreeMap<Subject, Mark>);

/// One floor, as it is written down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Floor {
    /// Of what.
    #[serde(flatten)]
    pub subject: Subject,
    /// The lowest that is taken.
    #[serde(flatten)]
    pub mark: Mark,
}

impl From<Vec<Floor>> for Floors {
    fn from(floors: Vec<Floor>) -> Self {
        let mut all = Self::default();
        for floor in floors {
            all.raise(&floor.subject, &floor.mark);
        }
        all
    }
}

impl From<Floors> for Vec<Floor> {
    fn from(floors: Floors) -> Self {
        floors.0.into_iter().map(|(subject, mark)| Floor { subject, mark }).collect()
    }
}

impl Floors {
    /// The floor of a thing.
    pub fn get(&self, subject: &Subject) -> Option<&Mark> {
        self.0.get(subject)
    }

    /// Both together: of each thing the higher floor. For nodes that share what they have seen.
    pub fn merge(&mut self, other: &Self) {
        for (subject, mark) in &other.0 {
            self.raise(subject, mark);
        }
    }

    /// The floor that `mark` is below, if it is.
    ///
    /// A revocation list is below when its number or its date is: Intel numbers each of its lists 1, so there the date alone
    /// tells. TCB info and identities are told apart by `tcbEvaluationDataNumber`, which stands for the content (Intel PCS
    /// API v4); Intel signs the same content anew every day, and a mirror's copy of yesterday is no rollback.
    pub(crate) fn above(&self, subject: &Subject, mark: &Mark) -> Option<&Mark> {
        let floor = self.0.get(subject)?;
        let by_date = matches!(subject, Subject::Crl { .. }) && mark.issued < floor.issued;
        (mark.number < floor.number || by_date).then_some(floor)
    }

    /// Says whether the floor rose.
    pub(crate) fn raise(&mut self, subject: &Subject, mark: &Mark) -> bool {
        if !subject.has_floor() {
            return false;
        }
        let Some(floor) = self.0.get_mut(subject) else {
            self.0.insert(subject.clone(), mark.clone());
            return true;
        };
        let higher =
            Mark { number: floor.number.clone().max(mark.number.clone()), issued: floor.issued.max(mark.issued) };
        let rose = higher != *floor;
        *floor = higher;
        rose
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(number: u32, issued: i64) -> Mark {
        Mark { number: number.into(), issued: Timestamp::from_unix_secs(issued) }
    }

    fn list() -> Subject {
        Subject::Crl { issuer: "CN=Root".to_owned() }
    }

    #[test]
    fn numbers_compare_as_numbers_whatever_their_length() {
        assert!(Number::from(255) < Number::from(256));
        assert!(Number::from_be_bytes(&[0, 0, 9]) == Number::from(9));
        assert!(Number::from_be_bytes(&[1; 20]) > Number::from(u32::MAX));
        assert_eq!((Number::from(300).to_string(), Number::default().to_string()), ("300".to_owned(), "0".to_owned()));
    }

    #[test]
    fn a_floor_never_sinks_and_equal_is_taken() {
        let mut floors = Floors::default();
        assert!(floors.raise(&list(), &mark(5, 50)));
        assert!(!floors.raise(&list(), &mark(4, 40)) && !floors.raise(&list(), &mark(5, 50)));
        assert_eq!(floors.above(&list(), &mark(5, 50)), None);
        assert_eq!(floors.above(&list(), &mark(4, 60)), Some(&mark(5, 50)));
    }

    #[test]
    fn lists_of_one_number_are_told_apart_by_date_and_tcb_info_is_not() {
        let (mut floors, info) = (Floors::default(), Subject::QeIdentity { tee: burgrave_types::Tee::Tdx });
        floors.raise(&list(), &mark(1, 50));
        floors.raise(&info, &mark(17, 50));
        assert!(floors.above(&list(), &mark(1, 49)).is_some());
        assert!(floors.above(&info, &mark(17, 49)).is_none());
        assert!(floors.above(&info, &mark(16, 60)).is_some());
    }

    #[test]
    fn floors_read_back_and_merge_to_the_higher() {
        let (mut one, mut two) = (Floors::default(), Floors::default());
        let info = Subject::TcbInfo { tee: burgrave_types::Tee::Tdx, fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0] };
        one.raise(&info, &mark(17, 50));
        two.raise(&info, &mark(18, 40));
        two.raise(&list(), &mark(1, 1));
        one.merge(&two);
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Floors>(&text).unwrap(), one);
        assert_eq!(one.get(&info), Some(&mark(18, 50)));
        assert!(text.contains("b0c06f000000"), "{text}");
    }
}
