use super::super::fold::tests::{finished, head};
use super::super::layout::Whole;
use super::super::reader::read_journal;
use super::*;
use crate::event::Outcome;

/// A run of one shard, whose trials ended like this.
fn part(out: &Utf8Path, shard: &str, trials: &[(u8, Outcome)], seed: u64) -> Utf8PathBuf {
    let run = RunDir::create(out, "e", "2026-01-02T03:04:05Z".parse().unwrap()).unwrap();
    let whole = (!shard.is_empty()).then(|| Whole { trials: 3, digest: "d".to_owned() });
    let command_line = ["run", "e", "--shard", shard, "-j", "2"].map(str::to_owned).to_vec();
    let tools = BTreeMap::from([("kubectl".to_owned(), "1.37".to_owned())]);
    let (program, experiment, experiment_digest) = ("1".to_owned(), "e".to_owned(), "x".to_owned());
    run.write_head(&RunHead { program, experiment, experiment_digest, command_line, seed, tools, whole }).unwrap();
    let mut writer = JournalWriter::create(&run, Box::new(|| "2026-01-02T03:04:06Z".parse().unwrap())).unwrap();
    writer.append(head("1")).unwrap();
    for (trial, outcome) in trials {
        writer.append(finished(*trial, *outcome, 1)).unwrap();
        fs_err::create_dir_all(run.trial(&TrialId(format!("t{trial}")))).unwrap();
        fs_err::write(run.playbook(&TrialId(format!("t{trial}")), 1), shard).unwrap();
    }
    run.path().to_owned()
}

fn out() -> (tempfile::TempDir, Utf8PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    (dir, path)
}

#[test]
fn shards_become_one_run_that_resumes_and_reports_as_a_whole() {
    let (_keep, out) = out();
    let one = part(&out, "1/2", &[(0, Outcome::Recovered), (1, Outcome::Cancelled)], 7);
    let two = part(&out, "2/2", &[(2, Outcome::NotRecovered)], 7);
    let joined = merge(&[one, two], &out.join("joined")).unwrap();
    assert_eq!(joined.name(), "e-20260102T030406Z");
    let head = joined.read_head().unwrap();
    assert_eq!((head.command_line.join(" ").as_str(), head.whole), ("run e -j 2", None));
    let journal = read_journal(&joined.events()).unwrap();
    let state = RunState::from_records(&journal.records);
    assert_eq!(state.head.unwrap().planned, 3);
    assert_eq!((state.finished.len(), state.ended.as_deref()), (3, Some("interrupted")));
    assert!(journal.records.iter().all(|r| r.at == "2026-01-02T03:04:06.000Z"));
    assert_eq!(fs_err::read_to_string(joined.playbook(&TrialId("t2".to_owned()), 1)).unwrap(), "2/2");
    assert_eq!(out.join("joined").read_dir_utf8().unwrap().count(), 1, "something was left beside it");
}

#[test]
fn what_does_not_belong_together_stays_apart_and_every_reason_is_given() {
    let (_keep, out) = out();
    let one = part(&out, "1/2", &[(0, Outcome::Recovered)], 7);
    let again = part(&out, "1/2", &[(0, Outcome::Recovered)], 8);
    let alone = part(&out, "", &[], 7);
    let error = merge(&[one.clone(), again, alone], &out.join("joined")).unwrap_err().to_string();
    for part in ["is no shard of anything", "seed: 7 in", "8 in", "trial t0 ended in", "trials of the whole: 3 (d) in"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!out.join("joined").exists());
    let busy = JournalWriter::open(&RunDir::open(&one).unwrap(), Box::new(jiff::Timestamp::now)).unwrap();
    assert!(matches!(merge(&[one.clone(), one], &out), Err(MergeError::Busy { .. })));
    drop(busy);
}
