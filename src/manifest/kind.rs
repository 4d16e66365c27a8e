//! Kinds of manifests, and which path holds which.

/// A kind of manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// systems/NAME/system.toml
    System,
    /// faults/NAME.toml
    Fault,
    /// pipelines/NAME.toml
    Pipeline,
    /// experiments/sequences/NAME.toml
    Sequence,
    /// experiments/NAME.toml
    Experiment,
    /// models/NAME.toml
    Model,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::System, Self::Fault, Self::Pipeline, Self::Sequence, Self::Experiment, Self::Model];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Fault => "fault",
            Self::Pipeline => "pipeline",
            Self::Sequence => "sequence",
            Self::Experiment => "experiment",
            Self::Model => "model",
        }
    }

    /// The kind with a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|k| k.name() == name)
    }

    /// The kind and name of the manifest at a path below the root; none: the file is no manifest.
    pub fn of_path(path: &str) -> Option<(Self, String)> {
        let (stem, extension) = path.rsplit_once('.')?;
        if !matches!(extension, "toml" | "yaml" | "yml") {
            return None;
        }
        let parts: Vec<&str> = stem.split('/').collect();
        let (kind, name) = match parts.as_slice() {
            ["systems", name, "system"] => (Self::System, name),
            ["faults", name] => (Self::Fault, name),
            ["pipelines", name] => (Self::Pipeline, name),
            ["experiments", "sequences", name] => (Self::Sequence, name),
            ["experiments", name] => (Self::Experiment, name),
            ["models", name] => (Self::Model, name),
            _ => return None,
        };
        Some((kind, (*name).to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        assert_eq!(Kind::of_path("systems/a/system.toml"), Some((Kind::System, "a".to_owned())));
        assert_eq!(Kind::of_path("models/gpt-4.1.toml"), Some((Kind::Model, "gpt-4.1".to_owned())));
        assert_eq!(Kind::of_path("experiments/sequences/easy.yml"), Some((Kind::Sequence, "easy".to_owned())));
        assert_eq!(Kind::of_path("systems/a/k8s/x.yaml"), None);
        assert_eq!(Kind::of_path("faults/templates/x.yaml.j2"), None);
    }
}
