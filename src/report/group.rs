//! What a summary is grouped by.

use std::str::FromStr;

use crate::event::TrialFinished;

/// A column that trials are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupKey {
    /// Method.
    Method,
    /// Model.
    Model,
    /// System.
    System,
    /// Sequence.
    Sequence,
    /// Fault.
    Fault,
    /// Category of the fault.
    Category,
    /// Target service.
    Target,
    /// Repeat.
    Repeat,
    /// Strategy of the repair.
    Strategy,
    /// Whether the injector was `visible` or `hidden`.
    Injector,
}

/// A name that is no column.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to group by `{0}`: the columns are {names}", names = GroupKey::ALL.map(GroupKey::name).join(", "))]
pub struct UnknownGroupKey(pub String);

impl GroupKey {
    /// All columns.
    pub const ALL: [Self; 10] = [
        Self::Method,
        Self::Model,
        Self::System,
        Self::Sequence,
        Self::Fault,
        Self::Category,
        Self::Target,
        Self::Repeat,
        Self::Strategy,
        Self::Injector,
    ];

    /// What summary.csv is grouped by.
    pub const DEFAULT: [Self; 4] = [Self::Method, Self::Model, Self::System, Self::Sequence];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Model => "model",
            Self::System => "system",
            Self::Sequence => "sequence",
            Self::Fault => "fault",
            Self::Category => "category",
            Self::Target => "target",
            Self::Repeat => "repeat",
            Self::Strategy => "strategy",
            Self::Injector => "injector",
        }
    }

    /// Its value for a trial.
    pub fn of(self, row: &TrialFinished) -> String {
        match self {
            Self::Method => row.spec.method.clone(),
            Self::Model => row.spec.model.clone(),
            Self::System => row.spec.system.clone(),
            Self::Sequence => row.spec.sequence.clone(),
            Self::Fault => row.spec.fault.clone(),
            Self::Category => row.category.clone(),
            Self::Target => row.spec.target.clone(),
            Self::Repeat => row.spec.repeat.to_string(),
            Self::Strategy => row.strategy.clone(),
            Self::Injector => if row.spec.sees_injector { "visible" } else { "hidden" }.to_owned(),
        }
    }
}

impl FromStr for GroupKey {
    type Err = UnknownGroupKey;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|key| key.name() == text).ok_or_else(|| UnknownGroupKey(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for key in GroupKey::ALL {
            assert_eq!(key.name().parse(), Ok(key));
        }
        let error = "modell".parse::<GroupKey>().unwrap_err().to_string();
        assert_eq!(
            error,
            "failed to group by `modell`: the columns are method, model, system, sequence, fault, category, target, repeat, strategy, injector"
        );
    }
}
