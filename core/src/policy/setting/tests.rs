use rstest::rstest;

use super::*;

fn annotations<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[rstest]
#[case(PolicyField::LostAfter, "45s", Setting::LostAfter(Duration::from_secs(45)))]
#[case(PolicyField::SuspectAfter, "5s", Setting::SuspectAfter(Duration::from_secs(5)))]
#[case(PolicyField::StartTimeout, "1h", Setting::StartTimeout(Duration::from_hours(1)))]
#[case(PolicyField::UnscheduledTimeout, "1day", Setting::UnscheduledTimeout(Some(Duration::from_hours(24))))]
#[case(PolicyField::ActiveTimeout, "2h", Setting::ActiveTimeout(Some(Duration::from_hours(2))))]
#[case(PolicyField::ActiveTimeout, "never", Setting::ActiveTimeout(None))]
#[case(PolicyField::StallAfter, "30m", Setting::StallAfter(Some(Duration::from_mins(30))))]
#[case(PolicyField::OnLost, "fail", Setting::OnLost(OnLost::Fail))]
#[case(PolicyField::Unseen, "lost", Setting::Unseen(Unseen::Lost))]
#[case(PolicyField::NotStarting, "fail", Setting::NotStarting(NotStarting::Fail))]
#[case(PolicyField::Retention, "5m", Setting::Retention(Duration::from_mins(5)))]
#[case(PolicyField::RetentionSucceeded, "5m", Setting::RetentionSucceeded(Duration::from_mins(5)))]
#[case(PolicyField::RetentionFailed, "5m", Setting::RetentionFailed(Duration::from_mins(5)))]
#[case(PolicyField::RetentionLost, "5m", Setting::RetentionLost(Duration::from_mins(5)))]
#[case(PolicyField::RetentionOrphaned, "5m", Setting::RetentionOrphaned(Duration::from_mins(5)))]
#[case(PolicyField::NotifyLate, "true", Setting::NotifyLate(true))]
#[case(PolicyField::IncludeLogs, "false", Setting::IncludeLogs(false))]
fn a_setting_is_written_and_parsed_in_the_same_form(
    #[case] field: PolicyField,
    #[case] text: &str,
    #[case] setting: Setting,
) {
    assert_eq!(Setting::parse(field, text), Ok(setting));
    assert_eq!(setting.to_string(), text);
    assert_eq!(setting.field(), field);
    let mut policy = Policy::default();
    setting.apply(&mut policy);
    assert_eq!(Setting::of(&policy, field), setting);
}

#[rstest]
#[case(PolicyField::LostAfter, "soon")]
#[case(PolicyField::LostAfter, "never")]
#[case(PolicyField::StallAfter, "")]
#[case(PolicyField::OnLost, "explode")]
#[case(PolicyField::NotStarting, "lost")]
#[case(PolicyField::NotifyLate, "yes")]
#[case(PolicyField::IncludeLogs, "20")]
fn an_invalid_value_is_rejected(#[case] field: PolicyField, #[case] text: &str) {
    assert!(Setting::parse(field, text).is_err());
}

#[test]
fn a_bad_annotation_is_named_and_the_others_apply() {
    let given = annotations([
        (annotation::LOST_AFTER, "soon"),
        (annotation::ON_LOST, "explode"),
        (annotation::RETENTION, "5m"),
    ]);
    let (changes, bad) = Changes::by_annotations(&given);
    assert_eq!(changes.iter().collect::<Vec<_>>(), [Setting::Retention(Duration::from_mins(5))]);
    assert_eq!(bad.iter().map(|b| b.key).collect::<Vec<_>>(), [annotation::LOST_AFTER, annotation::ON_LOST]);
    assert_eq!(bad[1].problem, "\"explode\" is not one of retry, fail, report");
}

#[test]
fn a_long_value_is_named_by_its_length() {
    let long = "9".repeat(200_000);
    let (changes, bad) =
        Changes::by_annotations(&annotations([(annotation::LOST_AFTER, &*long), (annotation::UNSEEN, "\n")]));
    assert!(changes.is_empty());
    assert_eq!(bad[0].to_string(), "annotation jobwarden.io/lost-after: a value of 200000 bytes");
    assert_eq!(bad[1].problem, "\"\\n\" is not one of report, lost");
}

#[test]
fn a_retention_that_is_not_set_comes_from_where_the_one_that_applies_comes_from() {
    let mut origins = Origins::default();
    let shown = |origins: &Origins| {
        [PolicyField::RetentionSucceeded, PolicyField::RetentionFailed, PolicyField::RetentionLost]
            .map(|field| origins.of(field))
    };
    assert_eq!(shown(&origins), [Origin::Default, Origin::Default, Origin::Default]);
    origins.set(PolicyField::Retention, Origin::File);
    assert_eq!(shown(&origins), [Origin::File, Origin::File, Origin::File]);
    origins.set(PolicyField::RetentionFailed, Origin::Job);
    assert_eq!(shown(&origins), [Origin::File, Origin::Job, Origin::Job]);
    origins.set(PolicyField::RetentionLost, Origin::Namespace);
    assert_eq!(shown(&origins), [Origin::File, Origin::Job, Origin::Namespace]);
}

#[test]
fn names_in_the_file_are_those_of_the_flags_in_camel_case() {
    assert_eq!(PolicyField::UnscheduledTimeout.in_file(), "unscheduledTimeout");
    assert_eq!(PolicyField::Unseen.in_file(), "unseen");
    assert_eq!(PolicyField::RetentionSucceeded.in_file(), "retentionSucceeded");
}
