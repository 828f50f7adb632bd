//! Bytes as text.

/// As `hex::encode`, which pushes character by character and would be a tenth of a verification's cost.
pub(crate) fn hex_text(bytes: impl AsRef<[u8]>) -> String {
    let bytes = bytes.as_ref();
    let mut text = vec![0; bytes.len() * 2];
    match hex::encode_to_slice(bytes, &mut text) {
        Ok(()) => String::from_utf8(text).unwrap_or_default(),
        Err(_) => String::new(),
    }
}
