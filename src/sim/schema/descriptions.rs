//! What `kubectl explain` tells of structures and fields, from `data/descriptions.json.gz` (built by `tools/schema_table.py`).
//!
//! Input: a structure of the table. Output: its text and those of its fields. Nobody needs them but the documents of
//! `OpenAPI`, which are kept compressed: they are unpacked for these and let go again.

use std::collections::BTreeMap;
use std::io::Read;

use flate2::read::GzDecoder;

static DATA: &[u8] = include_bytes!("../data/descriptions.json.gz");

/// The texts, by the short name of a structure: what it is, and what its fields are.
pub(super) struct Descriptions(BTreeMap<String, (String, BTreeMap<String, String>)>);

/// The bytes of the texts, for a hash that changes with them.
pub(super) fn digest_input() -> &'static [u8] {
    DATA
}

impl Descriptions {
    /// Unpacks the texts.
    pub(super) fn load() -> Self {
        let mut text = Vec::new();
        // The data are part of the binary and a test reads them.
        let _read = GzDecoder::new(DATA).take(16 << 20).read_to_end(&mut text);
        Self(serde_json::from_slice(&text).unwrap_or_default())
    }

    /// What a structure is; empty if nobody says.
    pub(super) fn of(&self, structure: &str) -> &str {
        self.0.get(structure).map_or("", |(text, _)| text)
    }

    /// What a field is; empty if nobody says.
    pub(super) fn of_field(&self, structure: &str, field: &str) -> &str {
        self.0.get(structure).and_then(|(_, fields)| fields.get(field)).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_and_fields_have_texts() {
        let texts = Descriptions::load();
        assert!(texts.of("core.v1.Container").starts_with("A single application container"));
        assert!(texts.of_field("core.v1.Container", "imagePullPolicy").contains("IfNotPresent otherwise"));
        assert_eq!(texts.of_field("core.v1.Container", "none"), "");
    }
}
