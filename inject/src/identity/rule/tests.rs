use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::view::{Job, Pod};

fn pod() -> Value {
    json!({
        "metadata": {
            "labels": {"run": "run-7", "part-10": "c", "part-2": "b", "part-0": "a", "part-x": "no", "none": ""},
            "annotations": {"note": "an", "long": "x".repeat(MAX_ID_BYTES + 1)},
        },
        "spec": {
            "initContainers": [{"name": "setup", "env": [{"name": "ID", "value": "from setup"}], "args": ["--id=setup"]}],
            "containers": [
                {"name": "a", "command": ["work", "--id", "apart"], "args": ["--id=joined", "--id2", "--last"]},
                {"name": "b", "env": [
                    {"name": "ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
                    {"name": "ID", "value": "from b"},
                    {"name": "payload", "value": "no JSON"},
                    {"name": "payload", "value": "{\"job\":{\"id\":\"job-7\"}}"},
                ], "args": ["-c", "run --job=8 now", "--identity=9", "--id=b"]},
            ],
        },
    })
}

fn find(rule: &str) -> Result<String, Miss> {
    let rule: Rule = serde_saphyr::from_str(rule).expect("the test's rule is valid");
    let text = pod().to_string();
    let pod: Pod<'_> = serde_json::from_str(&text).expect("the test's pod is valid");
    rule.find(&Subject::of_pod(&pod)).map(Cow::into_owned)
}

#[rstest]
#[case::label("label: run", Ok("run-7"))]
#[case::no_label("label: note", Err(Miss::Absent))]
#[case::empty_label("label: none", Err(Miss::Empty))]
#[case::annotation("annotation: note", Ok("an"))]
#[case::too_long("annotation: long", Err(Miss::TooLong))]
#[case::part_of_a_long_value("annotation: {key: long, regex: '^x{5}'}", Ok("xxxxx"))]
#[case::in_numeric_order("numberedLabels: part-", Ok("abc"))]
#[case::no_numbered_label("numberedLabels: run", Err(Miss::Absent))]
#[case::main_container_first("env: ID", Ok("from b"))]
#[case::of_a_container("env: {name: ID, container: setup}", Ok("from setup"))]
#[case::of_another_container("env: {name: ID, container: a}", Err(Miss::Absent))]
#[case::the_first_value_that_the_pointer_matches("env: {name: payload, pointer: /job/id}", Ok("job-7"))]
#[case::no_such_part("env: {name: payload, pointer: /id}", Err(Miss::NoPart))]
#[case::first_group(r"label: {key: run, regex: 'run-(\d+)'}", Ok("7"))]
#[case::whole_match(r"label: {key: run, regex: '\d+'}", Ok("7"))]
#[case::group_without_a_part("label: {key: run, regex: 'run|(x)'}", Err(Miss::NoPart))]
#[case::no_match("label: {key: run, regex: 'x'}", Err(Miss::NoPart))]
#[case::pointer_then_regex(r"env: {name: payload, pointer: /job/id, regex: '\d+'}", Ok("7"))]
#[case::argument_in_two_words("arg: --id", Ok("apart"))]
#[case::argument_in_one_word("arg: {name: --id, container: b}", Ok("b"))]
#[case::argument_of_an_init_container("arg: {name: --id, container: setup}", Ok("setup"))]
#[case::argument_without_value("arg: --last", Err(Miss::Absent))]
#[case::another_argument("arg: --i", Err(Miss::Absent))]
#[case::followed_by_another("arg: --id2", Err(Miss::Absent))]
#[case::inside_a_shell_command(r"arg: {regex: '--job=(\d+)'}", Ok("8"))]
fn a_rule_reads_one_place(#[case] rule: &str, #[case] expected: Result<&str, Miss>) {
    assert_eq!(find(rule), expected.map(str::to_owned));
}

#[test]
fn a_job_is_read_before_its_template() {
    let text = json!({
        "metadata": {"labels": {"both": "job"}},
        "spec": {"template": {"metadata": {"labels": {"both": "template", "one": "template"}}}},
    })
    .to_string();
    let job: Job<'_> = serde_json::from_str(&text).expect("the test's Job is valid");
    let find = |key: &str| Rule::whole(Place::Label(key.to_owned())).find(&Subject::of_job(&job)).map(Cow::into_owned);
    assert_eq!(find("both").as_deref(), Ok("job"));
    assert_eq!(find("one").as_deref(), Ok("template"));
}
