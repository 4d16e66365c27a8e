//! `--set KEY=VALUE`: one change of an experiment from the command line.

use serde_json::{Map, Value};

use crate::manifest::{ExperimentManifest, Kind, schema};

/// Why a setting cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingError {
    /// No `=`.
    #[error("`{0}` is no setting; write for example params.network-loss.loss=80")]
    Form(String),
    /// The key or the value does not fit an experiment.
    #[error("the setting `{setting}` does not fit: {message}")]
    Unfit {
        /// The setting.
        setting: String,
        /// What is wrong.
        message: String,
    },
}

/// Applies one setting (`budgets.probes=5`, `params.network-loss.loss=80`, `options.thinkremed.t_max=3`). The value is read as
/// JSON where it is some, else as text.
pub fn apply_setting(experiment: &ExperimentManifest, setting: &str) -> Result<ExperimentManifest, SettingError> {
    let (path, text) = setting.split_once('=').ok_or_else(|| SettingError::Form(setting.to_owned()))?;
    let unfit = |message: String| SettingError::Unfit { setting: setting.to_owned(), message };
    let mut whole = serde_json::to_value(experiment).map_err(|e| unfit(e.to_string()))?;
    // params and options have three parts; a name with a dot in it can be in the middle.
    let parts: Vec<&str> = match path.split_once('.') {
        Some((table @ ("params" | "options"), rest)) => {
            let (name, key) = rest.rsplit_once('.').ok_or_else(|| SettingError::Form(setting.to_owned()))?;
            vec![table, name, key]
        }
        _ => path.split('.').collect(),
    };
    let mut place = &mut whole;
    for part in &parts {
        let map = place.as_object_mut().ok_or_else(|| unfit(format!("`{part}` is below something that is no table")))?;
        place = map.entry((*part).to_owned()).or_insert_with(|| Value::Object(Map::new()));
    }
    *place = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
    if let Some(mistake) = schema::check_kind(Kind::Experiment, &whole).into_iter().next() {
        let help = mistake.help.map_or_else(String::new, |h| format!("; {h}"));
        return Err(unfit(mistake.message + &help));
    }
    serde_json::from_value(whole).map_err(|e| unfit(e.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn experiment() -> ExperimentManifest {
        let matrix = json!({ "system": ["s"], "sequence": ["q"], "method": ["m"], "model": ["x"] });
        serde_json::from_value(json!({ "name": "e", "matrix": matrix })).unwrap()
    }

    #[test]
    fn settings_reach_every_table() {
        let e = apply_setting(&experiment(), "budgets.probes=5").unwrap();
        let e = apply_setting(&e, "params.network-loss.loss=80").unwrap();
        let e = apply_setting(&e, "options.thinkremed.wait=5s").unwrap();
        assert_eq!(e.budgets.probes, 5);
        assert_eq!(e.params["network-loss"]["loss"], json!(80));
        assert_eq!(e.options["thinkremed"]["wait"], json!("5s"));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(apply_setting(&experiment(), "x"), Err(SettingError::Form("x".to_owned())));
        let error = apply_setting(&experiment(), "budgets.probs=5").unwrap_err().to_string();
        assert!(error.contains("did you mean `probes`?"), "{error}");
        assert!(apply_setting(&experiment(), "budgets.probes=many").is_err());
        assert!(apply_setting(&experiment(), "name.x=1").is_err());
    }
}
