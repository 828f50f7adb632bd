//! A TEE's own fields, decoded when somebody looks at them.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Serialize, Serializer};
use serde_json::Value;

type Maker = Box<dyn FnOnce() -> Value + Send>;

/// JSON that is made when it is first read: who only asks for a verdict does not pay for it. It reads and serialises as a
/// [`Value`]; copies share it.
#[derive(Clone)]
pub struct Raw(Option<Arc<LazyLock<Value, Maker>>>);

impl Raw {
    /// What `make` gives, once it is asked for.
    pub(crate) fn new(make: impl FnOnce() -> Value + Send + 'static) -> Self {
        Self(Some(Arc::new(LazyLock::new(Box::new(make)))))
    }
}

impl Default for Raw {
    /// Nothing: `null`.
    fn default() -> Self {
        Self(None)
    }
}

impl From<Value> for Raw {
    fn from(value: Value) -> Self {
        Self::new(move || value)
    }
}

impl Deref for Raw {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.0.as_ref().map_or(&Value::Null, |made| made)
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl PartialEq for Raw {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Value::serialize(self, serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_made_once_and_only_where_somebody_looks() {
        let (asked, answers) = std::sync::mpsc::channel();
        let raw = Raw::new(move || {
            asked.send(()).unwrap();
            json!({ "field": 1 })
        });
        let copy = raw.clone();
        assert!(answers.try_recv().is_err());
        assert_eq!((&copy["field"], serde_json::to_value(&raw).unwrap()), (&json!(1), json!({ "field": 1 })));
        assert_eq!(answers.iter().count(), 1);
        assert_eq!((raw, Raw::default()), (copy, Raw::from(Value::Null)));
    }
}
