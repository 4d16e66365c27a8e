//! Where trials run: as many places as may be used at once, each held by one trial at a time.
//!
//! Input: where the clusters are; output: a place for a trial, as long as there is a free one. A cluster that cannot be reached,
//! or that could not be brought back to what it was, is set aside: the others go on.

use std::collections::VecDeque;
use std::time::Duration;

use crate::cluster::{Target, connect};

/// How long a cluster may take to say that it is there.
const ANSWERS: Duration = Duration::from_secs(20);

/// A cluster of a kubeconfig.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Lease {
    /// The file; none: as kubectl finds it.
    pub file: Option<String>,
    /// The context; none: the current one.
    pub context: Option<String>,
    /// The kubeconfig of playbooks and probes; none: the same.
    pub agent: Option<String>,
}

impl Lease {
    /// What to connect to. `account`: the agent gets one of its own.
    pub(super) fn target(&self, account: bool) -> Target {
        Target::Kubeconfig { file: self.file.clone(), context: self.context.clone(), agent: self.agent.clone(), account }
    }

    /// What its user calls it.
    fn name(&self) -> String {
        self.context.clone().unwrap_or_else(|| "the current context".to_owned())
    }

    /// Why no trial can be run there; none: it answers.
    pub(super) async fn trouble(&self) -> Option<String> {
        let ask = async {
            let cluster = connect(&self.target(false)).await?;
            cluster.version().await
        };
        match tokio::time::timeout(ANSWERS, ask).await {
            Ok(Ok(_)) => None,
            Ok(Err(e)) => Some(e.to_string()),
            Err(_) => Some(format!("it did not answer within {} s", ANSWERS.as_secs())),
        }
    }
}

/// Where one trial runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// On an embedded cluster of its own.
    Embedded,
    /// On a cluster that outlives it.
    Leased(Lease),
}

/// A cluster that no further trials are run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// Its context.
    pub context: String,
    /// Why.
    pub why: String,
}

/// All places.
#[derive(Debug)]
pub(super) struct Leases {
    free: VecDeque<Place>,
    /// Free or taken.
    kept: usize,
    set_aside: Vec<SetAside>,
}

impl Leases {
    /// Embedded clusters, so many at a time.
    pub(super) fn embedded(jobs: usize) -> Self {
        Self::of(vec![Place::Embedded; jobs.max(1)])
    }

    /// These clusters, not more than so many at a time.
    pub(super) fn kubeconfig(leases: &[Lease], jobs: usize) -> Self {
        Self::of(leases.iter().take(jobs.max(1)).cloned().map(Place::Leased).collect())
    }

    fn of(places: Vec<Place>) -> Self {
        Self { kept: places.len(), free: places.into(), set_aside: Vec::new() }
    }

    /// A place, which is not given to anybody else until it comes back.
    pub(super) fn take(&mut self) -> Option<Place> {
        self.free.pop_front()
    }

    /// A trial has ended there.
    pub(super) fn give_back(&mut self, place: Place) {
        self.free.push_back(place);
    }

    /// Whether a place may be given up: the last one is not, since trials on it at least say what is wrong.
    pub(super) fn can_spare(&self) -> bool {
        self.kept > 1
    }

    /// No further trials on this one.
    pub(super) fn set_aside(&mut self, place: &Place, why: String) -> SetAside {
        self.kept = self.kept.saturating_sub(1);
        let context = match place {
            Place::Embedded => "embedded".to_owned(),
            Place::Leased(lease) => lease.name(),
        };
        let one = SetAside { context, why };
        self.set_aside.push(one.clone());
        one
    }

    /// Those given up, in order.
    pub(super) fn all_set_aside(self) -> Vec<SetAside> {
        self.set_aside
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(context: &str) -> Lease {
        Lease { context: Some(context.to_owned()), ..Lease::default() }
    }

    #[test]
    fn a_place_is_held_by_one_trial_and_the_last_is_kept() {
        let mut leases = Leases::kubeconfig(&[lease("a"), lease("b")], 8);
        let (a, b) = (leases.take().unwrap(), leases.take().unwrap());
        assert_eq!(leases.take(), None);
        assert!(leases.can_spare());
        leases.set_aside(&a, "broken".to_owned());
        assert!(!leases.can_spare());
        leases.give_back(b.clone());
        assert_eq!(leases.take(), Some(b));
        assert_eq!(leases.all_set_aside(), [SetAside { context: "a".to_owned(), why: "broken".to_owned() }]);
    }

    #[test]
    fn no_more_are_used_than_asked_for() {
        let mut leases = Leases::kubeconfig(&[lease("a"), lease("b")], 1);
        assert!(leases.take().is_some() && leases.take().is_none());
        let mut leases = Leases::embedded(3);
        assert_eq!(std::iter::from_fn(|| leases.take()).count(), 3);
    }

    #[tokio::test]
    async fn a_cluster_that_is_not_there_is_in_trouble() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'http://127.0.0.1:1'}}]\nusers: [{name: u, user: {}}]\n";
        std::fs::write(file.path(), text).unwrap();
        let gone = Lease { file: file.path().to_str().map(str::to_owned), ..Lease::default() };
        assert!(gone.trouble().await.is_some());
    }
}
