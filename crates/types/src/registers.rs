//! Registers that grow after launch, with what they held.

use std::collections::{BTreeMap, btree_map};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::claims::HexBytes;

/// Values of registers by name: `pcr0`, `rtmr3`. A map whose clones share it until one of them is changed, since a machine that
/// attests again mostly says the same.
///
/// ```
/// use burgrave_types::Registers;
/// use burgrave_types::claims::HexBytes;
///
/// let before: Registers = [("pcr0".to_owned(), HexBytes(vec![1; 32]))].into();
/// let mut after = before.clone();
/// after.insert("pcr1".to_owned(), HexBytes(vec![2; 32]));
/// assert_eq!((before.len(), after.len()), (1, 2));
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Registers(Arc<BTreeMap<String, HexBytes>>);

impl Deref for Registers {
    type Target = BTreeMap<String, HexBytes>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Registers {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl From<BTreeMap<String, HexBytes>> for Registers {
    fn from(registers: BTreeMap<String, HexBytes>) -> Self {
        Self(Arc::new(registers))
    }
}

impl<const N: usize> From<[(String, HexBytes); N]> for Registers {
    fn from(registers: [(String, HexBytes); N]) -> Self {
        BTreeMap::from(registers).into()
    }
}

impl FromIterator<(String, HexBytes)> for Registers {
    fn from_iter<I: IntoIterator<Item = (String, HexBytes)>>(registers: I) -> Self {
        registers.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl IntoIterator for Registers {
    type Item = (String, HexBytes);
    type IntoIter = btree_map::IntoIter<String, HexBytes>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Registers {
    type Item = (&'a String, &'a HexBytes);
    type IntoIter = btree_map::Iter<'a, String, HexBytes>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl Serialize for Registers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Registers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self::from)
    }
}
