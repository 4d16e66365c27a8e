//! The row of a request for a certificate.

use std::time::Duration;

use serde_json::Value;

use super::cells::NONE;
use super::human;

/// Signer, requestor, duration and condition.
pub(super) fn cells(o: &Value) -> [Value; 4] {
    let spec = &o["spec"];
    let duration = spec["expirationSeconds"].as_u64().map_or_else(|| NONE.to_owned(), |s| human(Duration::from_secs(s)));
    [spec["signerName"].clone(), spec["username"].as_str().unwrap_or_default().into(), duration.into(), condition(o).into()]
}

fn condition(o: &Value) -> String {
    let status = &o["status"];
    let has = |kind: &str| status["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind);
    let mut text = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (false, true) => "Approved",
        (false, false) => "Pending",
    }
    .to_owned();
    if has("Failed") {
        text.push_str(",Failed");
    }
    if status["certificate"].as_str().is_some_and(|c| !c.is_empty()) {
        text.push_str(",Issued");
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn conditions_are_told_in_one_word_each() {
        let conditions = |kinds: &[&str]| kinds.iter().map(|k| json!({"type": k})).collect::<Value>();
        let of = |kinds: &[&str], certificate: &str| {
            condition(&json!({"status": {"conditions": conditions(kinds), "certificate": certificate}}))
        };
        assert_eq!(of(&[], ""), "Pending");
        assert_eq!(of(&["Approved"], "eA=="), "Approved,Issued");
        assert_eq!(of(&["Approved", "Failed"], ""), "Approved,Failed");
        assert_eq!(of(&["Denied"], ""), "Denied");
        let spec = json!({"spec": {"signerName": "s", "username": "jane", "expirationSeconds": 86400}});
        assert_eq!(cells(&spec), [json!("s"), json!("jane"), json!("24h"), json!("Pending")]);
    }
}
