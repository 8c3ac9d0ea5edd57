//! How the creator of a Job or pod opts in or out.

use jobwarden_common::{
    choice::Choice,
    names::{annotation, label, label_value},
};

use crate::view::Metadata;

/// The longest part of a value that a warning shows, in characters.
const SHOWN_VALUE: usize = 40;

/// What the creator of an object asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Enrolment {
    pub(super) choice: Option<Choice>,
    /// That it is written otherwise than documented.
    pub(super) warning: Option<String>,
}

impl Enrolment {
    /// What `metadata` asks for. The label comes first; another injector's users may write an annotation.
    pub(super) fn of(metadata: Option<&Metadata<'_>>) -> Self {
        let Some(metadata) = metadata else { return Self::default() };
        let label = metadata.label(label::INJECT);
        match label {
            None if metadata.annotations.is_none() => return Self::default(),
            Some(label_value::TRUE) => return Self { choice: Some(Choice::In), warning: None },
            Some(label_value::FALSE) => return Self { choice: Some(Choice::Out), warning: None },
            _ => {}
        }
        let annotation = metadata.annotation(annotation::INJECT);
        let found = [("label", label), ("annotation", annotation)].into_iter().find_map(|(kind, value)| {
            let value = value?;
            Some((kind, value, Choice::of(value)?))
        });
        if let Some((kind, value, choice)) = found {
            let word = match choice {
                Choice::In => label_value::TRUE,
                Choice::Out => label_value::FALSE,
            };
            let warning = format!(
                "{kind} {}: {} is taken as the label {}: {word:?}; write that",
                label::INJECT,
                shown(value),
                label::INJECT
            );
            return Self { choice: Some(choice), warning: Some(warning) };
        }
        let warning = label.or(annotation).map(|value| {
            format!(
                "{}: {} has no effect: the label is \"true\" to opt a pod in, \"false\" to opt a Job or pod out",
                label::INJECT,
                shown(value)
            )
        });
        Self { choice: None, warning }
    }
}

fn shown(value: &str) -> String {
    format!("\"{}\"", value.escape_debug().take(SHOWN_VALUE).collect::<String>())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;

    #[rstest]
    #[case::nothing(json!(null), json!(null), None, None)]
    #[case::documented(json!("true"), json!(null), Some(Choice::In), None)]
    #[case::documented_opt_out(json!("false"), json!("true"), Some(Choice::Out), None)]
    #[case::of_the_namespace(json!("enabled"), json!(null), Some(Choice::In), Some("label jobwarden.io/inject: \"enabled\" is taken as"))]
    #[case::its_opposite(json!("Disabled"), json!(null), Some(Choice::Out), Some("the label jobwarden.io/inject: \"false\"; write that"))]
    #[case::annotation(json!(null), json!("false"), Some(Choice::Out), Some("annotation jobwarden.io/inject: \"false\" is taken as"))]
    #[case::a_label_comes_first(json!("enabled"), json!("false"), Some(Choice::In), Some("label"))]
    #[case::a_label_without_a_meaning(json!("perhaps"), json!("false"), Some(Choice::Out), Some("annotation"))]
    #[case::no_word(json!("perhaps"), json!(null), None, Some("\"perhaps\" has no effect"))]
    fn choices_are_obeyed_as_people_write_them(
        #[case] label: Value,
        #[case] annotation: Value,
        #[case] choice: Option<Choice>,
        #[case] warning: Option<&str>,
    ) {
        let map = |value: Value| if value.is_null() { json!({}) } else { json!({"jobwarden.io/inject": value}) };
        let text = json!({"labels": map(label), "annotations": map(annotation)}).to_string();
        let metadata: Metadata<'_> = serde_json::from_str(&text).expect("metadata");
        let found = Enrolment::of(Some(&metadata));
        assert_eq!(found.choice, choice);
        let as_expected = found.warning.as_ref().map(|it| warning.is_some_and(|part| it.contains(part)));
        assert_eq!(as_expected, warning.map(|_| true), "{:?}", found.warning);
    }
}
