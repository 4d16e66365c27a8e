//! Commands in containers.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, AttachParams};
use tokio::io::AsyncReadExt as _;

use super::client::{Cluster, ClusterError, chain};
use super::object::ObjectRef;

/// Largest output kept of one stream, in bytes.
const OUTPUT_LIMIT: u64 = 1 << 20;

/// What a command in a container did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutcome {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code; none when it could not be run or was cut off.
    pub code: Option<i32>,
    /// Why it could not be run (`executable file not found`, ...).
    pub failure: String,
    /// Cut off by the time limit.
    pub timed_out: bool,
}

impl Cluster {
    /// Runs a command in a container of a pod (none: its default one), for at most `limit` of the cluster's time.
    ///
    /// # Errors
    /// When the server could not be reached. A command or container that does not exist is an outcome.
    pub async fn exec(
        &self,
        namespace: &str,
        pod: &str,
        container: Option<&str>,
        command: &[String],
        limit: Duration,
    ) -> Result<ExecOutcome, ClusterError> {
        let container = match container {
            Some(c) => c.to_owned(),
            None => self.default_container(namespace, pod).await?,
        };
        // Set before time may pass: a command must not get on before its limit is known.
        let reached = self.pace.deadline(limit);
        let _waiting = self.pace.waiting();
        let work = self.exec_unlimited(namespace, pod, &container, command);
        tokio::select! {
            done = work => done,
            () = reached => Ok(ExecOutcome { timed_out: true, ..ExecOutcome::default() }),
        }
    }

    /// The container that kubectl would choose: the annotated one, else the first. Empty when there is no such pod.
    async fn default_container(&self, namespace: &str, pod: &str) -> Result<String, ClusterError> {
        let object = self.get(&ObjectRef::new("v1", "Pod", namespace, pod)).await?.unwrap_or_default();
        let annotated = object["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"].as_str();
        let name = annotated.or_else(|| object["spec"]["containers"][0]["name"].as_str());
        Ok(name.unwrap_or_default().to_owned())
    }

    async fn exec_unlimited(&self, namespace: &str, pod: &str, container: &str, command: &[String]) -> Result<ExecOutcome, ClusterError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let mut params = AttachParams::default().stdin(false).stdout(true).stderr(true);
        if !container.is_empty() {
            params = params.container(container);
        }
        let mut process = match pods.exec(pod, command.to_vec(), &params).await {
            Ok(p) => p,
            Err(e) => return Ok(ExecOutcome { failure: chain(&e), ..ExecOutcome::default() }),
        };
        let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read_out = async {
            if let Some(s) = stdout {
                // A broken stream ends the output; the status tells how the command ended.
                let _read = s.take(OUTPUT_LIMIT).read_to_end(&mut out).await;
            }
        };
        let read_err = async {
            if let Some(s) = stderr {
                let _read = s.take(OUTPUT_LIMIT).read_to_end(&mut err).await;
            }
        };
        let end = async {
            match status {
                Some(s) => s.await,
                None => None,
            }
        };
        let ((), (), status) = futures::join!(read_out, read_err, end);
        let mut outcome = ExecOutcome {
            stdout: String::from_utf8_lossy(&out).into_owned(),
            stderr: String::from_utf8_lossy(&err).into_owned(),
            ..ExecOutcome::default()
        };
        match status {
            Some(s) if s.status.as_deref() == Some("Success") => outcome.code = Some(0),
            Some(s) => {
                outcome.code = s
                    .details
                    .iter()
                    .flat_map(|d| d.causes.iter().flatten())
                    .find(|c| c.reason.as_deref() == Some("ExitCode"))
                    .and_then(|c| c.message.as_deref()?.parse().ok());
                if outcome.code.is_none() {
                    outcome.failure = s.message.unwrap_or_default();
                }
            }
            None => "the stream ended without a status".clone_into(&mut outcome.failure),
        }
        Ok(outcome)
    }
}
