//! Writes CBOR and COSE as the tests' makers need it, honest or not.

/// A value of CBOR, as far as evidence needs it.
#[derive(Clone)]
pub enum Value {
    Number(u64),
    Null,
    Text(&'static str),
    Bytes(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    /// A map whose end is marked instead of its length.
    Open(Vec<(Value, Value)>),
    /// Anything at all.
    Raw(Vec<u8>),
}

fn head(kind: u8, length: usize) -> Vec<u8> {
    let length = u32::try_from(length).unwrap();
    [[kind << 5 | 26].as_slice(), &length.to_be_bytes()].concat()
}

pub fn encode(value: &Value) -> Vec<u8> {
    let pairs = |pairs: &[(Value, Value)]| -> Vec<u8> {
        pairs.iter().flat_map(|(key, value)| [encode(key), encode(value)].concat()).collect()
    };
    match value {
        Value::Number(number) => [[27].as_slice(), &number.to_be_bytes()].concat(),
        Value::Null => vec![0xf6],
        Value::Text(text) => [head(3, text.len()), text.as_bytes().to_vec()].concat(),
        Value::Bytes(bytes) => [head(2, bytes.len()), bytes.clone()].concat(),
        Value::Array(items) => [head(4, items.len()), items.iter().flat_map(encode).collect()].concat(),
        Value::Map(map) => [head(5, map.len()), pairs(map)].concat(),
        Value::Open(map) => [vec![0xbf], pairs(map), vec![0xff]].concat(),
        Value::Raw(bytes) => bytes.clone(),
    }
}

/// A `COSE_Sign1` over `payload`; `sign` makes the signature over the bytes that one covers.
pub fn sign1(protected: &[u8], unprotected: &Value, payload: Vec<u8>, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let message = [b"\x84\x6aSignature1".as_slice(), &shortest(protected), &[0x40], &shortest(&payload)].concat();
    let signature = sign(&message);
    let parts = [Value::Bytes(protected.to_vec()), unprotected.clone(), Value::Bytes(payload), Value::Bytes(signature)];
    [vec![0x84], parts.iter().flat_map(encode).collect()].concat()
}

/// A byte string whose length is as short as can be: what the signature is over.
fn shortest(bytes: &[u8]) -> Vec<u8> {
    let head = match bytes.len() {
        length @ 0..24 => vec![0x40 | u8::try_from(length).unwrap()],
        length @ 24..256 => vec![0x58, u8::try_from(length).unwrap()],
        length @ 256..65536 => [[0x59].as_slice(), &u16::try_from(length).unwrap().to_be_bytes()].concat(),
        length => head(2, length),
    };
    [head, bytes.to_vec()].concat()
}
