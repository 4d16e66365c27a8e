use super::super::reader::read_journal;
use super::*;

fn run() -> (tempfile::TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let out = Utf8PathBuf::from_path_buf(dir.path().to_owned()).unwrap();
    let run = RunDir::create(&out, "x", jiff::Timestamp::UNIX_EPOCH).unwrap();
    (dir, run)
}

fn clock() -> Clock {
    Box::new(|| jiff::Timestamp::UNIX_EPOCH)
}

fn end(how: &str) -> Event {
    Event::RunFinished { how: how.to_owned() }
}

#[test]
fn events_are_numbered_and_readable_while_the_writer_lives() {
    let (_keep, run) = run();
    let mut writer = JournalWriter::create(&run, clock()).unwrap();
    let first = writer.append(end("interrupted")).unwrap();
    let second = writer.append(end("done")).unwrap();
    assert_eq!((first.n, second.n, second.at.as_str()), (0, 1, "1970-01-01T00:00:00.000Z"));
    assert_eq!(read_journal(&run.events()).unwrap(), Journal { records: vec![first, second], torn: false });
}

#[test]
fn a_clock_that_jumps_changes_no_order_and_loses_nothing() {
    let (_keep, run) = run();
    let jumping = |seconds: i64| -> Clock { Box::new(move || jiff::Timestamp::from_second(seconds).unwrap()) };
    // Forty years ahead, then back to before the epoch.
    drop(JournalWriter::create(&run, jumping(1_800_000_000)).unwrap().append(end("interrupted")).unwrap());
    for (seconds, how) in [(3_000_000_000, "interrupted"), (-5, "done")] {
        let (mut writer, _) = JournalWriter::open(&run, jumping(seconds)).unwrap();
        writer.append(end(how)).unwrap();
    }
    let (_, state) = JournalWriter::open_folded(&run, clock()).unwrap();
    assert_eq!(state.ended.as_deref(), Some("done"));
    let journal = read_journal(&run.events()).unwrap();
    assert_eq!(journal.records.iter().map(|r| r.n).collect::<Vec<_>>(), [0, 1, 2]);
    assert!(!journal.torn && journal.records[2].at.starts_with("1969-12-31"), "{:?}", journal.records);
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let (_keep, run) = run();
    let writer = JournalWriter::create(&run, clock()).unwrap();
    let error = JournalWriter::open(&run, clock()).err().unwrap();
    assert!(matches!(error, WriteError::Locked { .. }), "{error}");
    drop(writer);
    JournalWriter::open(&run, clock()).unwrap();
}

#[test]
fn an_existing_journal_is_not_started_again() {
    let (_keep, run) = run();
    drop(JournalWriter::create(&run, clock()).unwrap());
    assert!(matches!(JournalWriter::create(&run, clock()), Err(WriteError::Io { .. })));
}

#[test]
fn a_torn_end_is_set_aside_and_the_run_goes_on() {
    let (_keep, run) = run();
    JournalWriter::create(&run, clock()).unwrap().append(end("interrupted")).unwrap();
    for torn in ["{\"n\":1,\"at\":\"19", "{\"n\":2"] {
        let mut bytes = fs_err::read(run.events()).unwrap();
        bytes.extend(torn.as_bytes());
        fs_err::write(run.events(), bytes).unwrap();
        let (mut writer, journal) = JournalWriter::open(&run, clock()).unwrap();
        assert!(journal.torn);
        writer.append(end("done")).unwrap();
    }
    let journal = read_journal(&run.events()).unwrap();
    assert_eq!((journal.records.len(), journal.torn), (3, false));
    assert_eq!(fs_err::read_to_string(run.torn()).unwrap(), "{\"n\":1,\"at\":\"19\n{\"n\":2\n");
}

#[test]
fn a_broken_journal_is_not_continued() {
    let (_keep, run) = run();
    JournalWriter::create(&run, clock()).unwrap().append(end("done")).unwrap();
    let text = format!("rubbish\n{}", fs_err::read_to_string(run.events()).unwrap());
    fs_err::write(run.events(), &text).unwrap();
    assert!(matches!(JournalWriter::open(&run, clock()), Err(WriteError::Journal(JournalError::Line { line: 1, .. }))));
    assert_eq!(fs_err::read_to_string(run.events()).unwrap(), text);
}

#[test]
fn an_event_that_could_not_be_read_again_is_refused_and_leaves_no_trace() {
    let (_keep, run) = run();
    let mut writer = JournalWriter::create(&run, clock()).unwrap();
    let asked = crate::event::Asked {
        trial: crate::ids::TrialId("t".to_owned()),
        call: 1,
        tool: String::new(),
        usage: crate::model::Usage::default(),
        cost_usd: None,
        real_s: f64::NAN,
        retries: 0,
        dialect: "none".to_owned(),
        malformed: String::new(),
        correction: false,
    };
    assert!(matches!(writer.append(Event::Asked(asked)), Err(WriteError::Unreadable { .. })));
    writer.append(end("failed")).unwrap();
    assert_eq!(read_journal(&run.events()).unwrap().records.len(), 1);
}
proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]

    /// A crash leaves any number of bytes; what was whole is kept, numbering goes on, and nothing is read twice.
    #[test]
    fn a_crash_anywhere_loses_the_last_events_only(lists in super::super::fold::tests::trials(), share in 0.0..1.0_f64) {
        use super::super::fold::tests::head;
        let (_keep, run) = run();
        let mut written = Vec::new();
        let mut writer = JournalWriter::create(&run, clock()).unwrap();
        for event in std::iter::once(head("1")).chain(lists.concat()) {
            writer.append(event).unwrap();
            written.push(fs_err::metadata(run.events()).unwrap().len());
        }
        drop(writer);
        let before = read_journal(&run.events()).unwrap().records;

        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a share of a file")]
        let cut = (fs_err::metadata(run.events()).unwrap().len() as f64 * share) as u64;
        fs_err::OpenOptions::new().write(true).open(run.events()).unwrap().set_len(cut).unwrap();
        let whole = written.iter().filter(|end| **end <= cut).count();

        let (mut writer, journal) = JournalWriter::open(&run, clock()).unwrap();
        proptest::prop_assert_eq!(&journal.records, &before[..whole]);
        let resumed = writer.append(head("2")).unwrap();
        proptest::prop_assert_eq!(resumed.n, whole as u64);
        let after = read_journal(&run.events()).unwrap();
        proptest::prop_assert!(!after.torn);
        proptest::prop_assert_eq!(after.records.len(), whole + 1);
    }
}

#[test]
fn every_kind_of_event_comes_back() {
    let (_keep, run) = run();
    let trial = crate::ids::TrialId("t".to_owned());
    let command = crate::ansible::CommandOutcome {
        contained: Vec::new(),
        finish: crate::ansible::Finish::Signalled(9),
        stdout: "line\u{2028}one\nline two \u{0}\u{1b}[31m".to_owned(),
        stderr: "\u{fffd}".to_owned(),
        dropped_bytes: 7,
        real_s: 0.5,
        cluster_s: 1.25,
    };
    let playbook = crate::ansible::PlaybookOutcome {
        command: command.clone(),
        tasks: vec![crate::ansible::TaskOutcome {
            task: "a".to_owned(),
            host: "localhost".to_owned(),
            action: "shell".to_owned(),
            status: "ok".to_owned(),
            message: "m".to_owned(),
        }],
        stats: [("localhost".to_owned(), crate::ansible::HostStats { ok: 1, ..Default::default() })].into(),
        valid: true,
    };
    let sample = crate::event::Sample {
        cluster_ms: 1,
        stage: 0,
        round: 0,
        position: 0,
        check: "c".to_owned(),
        subject: String::new(),
        value: None,
        passed: false,
        note: "n".to_owned(),
        numbers: std::collections::BTreeMap::new(),
    };
    let events = vec![
        super::super::fold::tests::head("1"),
        Event::Stage { trial: trial.clone(), stage: "deploy".to_owned(), cluster_ms: u64::MAX },
        Event::UndoOwed { trial: trial.clone(), debt: "d".to_owned(), undo: serde_json::json!({ "delete": ["a", 1, null] }) },
        Event::UndoPaid { trial: trial.clone(), debt: "d".to_owned() },
        Event::Probed(crate::event::Probed { trial: trial.clone(), command: "echo 'é'".to_owned(), outcome: command }),
        Event::PlaybookRan(crate::event::PlaybookRan {
            uses: crate::ansible::Uses::default(),
            trial: trial.clone(),
            attempt: 1,
            code: "- a\n- b\n".to_owned(),
            approval: None,
            outcome: playbook,
        }),
        Event::Judged(crate::event::Judged { trial, phase: "final".to_owned(), set: "s".to_owned(), passed: false, samples: vec![sample] }),
        end("done"),
    ];
    let mut writer = JournalWriter::create(&run, clock()).unwrap();
    for event in events.clone() {
        writer.append(event).unwrap();
    }
    let back: Vec<Event> = read_journal(&run.events()).unwrap().records.into_iter().map(|r| r.event).collect();
    assert_eq!(back, events);
    assert_eq!(fs_err::read_to_string(run.events()).unwrap().lines().count(), events.len());
}
