use camino::Utf8Path;
use proptest::prelude::*;

use super::super::fixture;
use super::*;
use crate::event::{Event, Outcome};

#[test]
fn summary_page() {
    insta::assert_snapshot!(render(Format::Markdown, &Results::from_records(&fixture::records()), &[]).unwrap());
}

#[test]
fn trials_table() {
    insta::assert_snapshot!(String::from_utf8(trials_csv(&Results::from_records(&fixture::records())).unwrap()).unwrap());
}

#[test]
fn summary_table() {
    insta::assert_snapshot!(render(Format::Csv, &Results::from_records(&fixture::records()), &[]).unwrap());
}

#[test]
fn tables_for_papers() {
    insta::assert_snapshot!(render(Format::Latex, &Results::from_records(&fixture::records()), &[]).unwrap());
}

#[test]
fn json_holds_the_rows_in_full() {
    let records = fixture::records();
    let results = Results::from_records(&records);
    let value: serde_json::Value = serde_json::from_str(&render(Format::Json, &results, &[]).unwrap()).unwrap();
    assert_eq!(value["programs"], serde_json::json!(["0.1.0"]));
    assert_eq!(value["journal_digest"].as_str().unwrap().len(), 64);
    let rows: Vec<crate::event::TrialFinished> = serde_json::from_value(value["trials"].clone()).unwrap();
    assert_eq!(rows, results.rows);
}

#[test]
fn page_groups_as_asked() {
    let text = render(Format::Csv, &Results::from_records(&fixture::records()), &[GroupKey::Fault]).unwrap();
    let first: Vec<&str> = text.lines().map(|l| l.split(',').next().unwrap()).collect();
    assert_eq!(first, ["fault", "fault-0", "fault-1", "fault-2"]);
}

#[test]
fn two_models_against_each_other() {
    let results = Results::from_records(&fixture::records());
    insta::assert_snapshot!(render_comparison(&results, "model-b", "model-a").unwrap(), @"
    | verdict | compared | with | first   | second  | pairs | both | only first | only second |      p | p (Holm) |
    | ------- | -------- | ---- | ------- | ------- | ----: | ---: | ---------: | ----------: | -----: | -------: |
    | strict  | models   | solo | model-a | model-b |     3 |    0 |          3 |           0 | 0.2500 |   0.2500 |
    | compat  | models   | solo | model-a | model-b |     3 |    1 |          2 |           0 | 0.5000 |   0.5000 |
    ");
    assert_eq!(render_comparison(&results, "model-b", "nobody"), None);
}

#[test]
fn formats_are_read_by_name() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert_eq!(
        "pdf".parse::<Format>().unwrap_err().to_string(),
        "failed to write a report as `pdf`: the formats are md, csv, json, latex, html"
    );
}

#[test]
fn nothing_scored_prints_no_nan() {
    let cancelled = fixture::row(0, "m", "o", Outcome::Cancelled, None, None);
    for records in [Vec::new(), fixture::number([fixture::head(), Event::TrialFinished(Box::new(cancelled))])] {
        let results = Results::from_records(&records);
        for format in Format::ALL {
            let text = render(format, &results, &[]).unwrap();
            assert!(!text.contains("NaN") && !text.contains("inf,") && !text.contains("null,\n    \"n\""), "{text}");
        }
    }
}

#[test]
fn all_files_are_written_and_the_same_each_time() {
    let dir = tempfile::tempdir().unwrap();
    let run = RunDir::create(Utf8Path::from_path(dir.path()).unwrap(), "x", jiff::Timestamp::UNIX_EPOCH).unwrap();
    let records = fixture::records();
    let paths = write_all(&run, &records).unwrap();
    let names: Vec<&str> = paths.iter().filter_map(|p| p.file_name()).collect();
    assert_eq!(names, ["summary.md", "trials.csv", "summary.csv", "results.json", "tables.tex", "index.html"]);
    let read = || paths.iter().map(|p| fs_err::read(p).unwrap()).collect::<Vec<_>>();
    let first = read();
    write_all(&run, &records).unwrap();
    assert_eq!(read(), first);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Trials run in parallel: their events come in any order, each trial's own in order.
    #[test]
    fn interleaving_does_not_change_a_byte(choices in prop::collection::vec(any::<usize>(), 70)) {
        let mut lists = fixture::trials();
        for list in &mut lists {
            list.reverse();
        }
        let mut mixed = vec![fixture::head()];
        for choice in choices {
            lists.retain(|l| !l.is_empty());
            if lists.is_empty() {
                break;
            }
            let at = choice % lists.len();
            mixed.extend(lists[at].pop());
        }
        mixed.push(Event::RunFinished { how: "done".to_owned() });
        prop_assert!(lists.iter().all(Vec::is_empty));
        // By way of the disk format, and with other time stamps.
        let stored = serde_json::to_string(&fixture::number(mixed)).unwrap();
        let mixed: Vec<Record> = serde_json::from_str(&stored).unwrap();
        let (plain, mixed) = (Results::from_records(&fixture::records()), Results::from_records(&mixed));
        for format in Format::ALL {
            prop_assert_eq!(render(format, &plain, &[]).unwrap(), render(format, &mixed, &[]).unwrap());
        }
        prop_assert_eq!(trials_csv(&plain).unwrap(), trials_csv(&mixed).unwrap());
    }
}
