//! Patches, as pure functions on JSON: JSON patch, merge patch, strategic merge patch.
