use clap::Parser as _;
use rstest::rstest;

use super::*;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    explain: ExplainArgs,
}

fn parse(arguments: &[&str]) -> Result<ExplainArgs, clap::Error> {
    Ok(Line::try_parse_from(["explain"].iter().chain(arguments))?.explain)
}

#[rstest]
#[case::context(&["a"], Some("context/a"))]
#[case::flag(&["a", "-n", "flag"], Some("flag/a"))]
#[case::path(&["path/a"], Some("path/a"))]
#[case::both(&["path/a", "--namespace=path"], Some("path/a"))]
#[case::contradiction(&["path/a", "-n", "flag"], None)]
fn the_namespace_is_that_of_the_path_the_flag_or_the_context(
    #[case] arguments: &[&str],
    #[case] expected: Option<&str>,
) {
    let ExplainArgs { job, namespace, .. } = parse(arguments).expect("valid arguments");
    let resolved = resolve(job, namespace, "context".to_owned());
    let resolved = resolved.map(|JobPath { namespace, name }| format!("{namespace}/{name}"));
    assert_eq!(resolved.ok().as_deref(), expected);
}

#[rstest]
#[case("text", Output::Text)]
#[case("wide", Output::Wide)]
#[case("json", Output::Json)]
#[case("yaml", Output::Yaml)]
fn every_output_format_is_accepted(#[case] format: &str, #[case] expected: Output) {
    assert_eq!(parse(&["a", "-o", format]).expect("valid arguments").output, expected);
}
