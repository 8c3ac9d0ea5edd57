//! What the documentation says to install with, so that tests and the demo run exactly that.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

/// The page about ORT Server.
pub const ORT_SERVER: &str = "docs/orchestrators/ort-server.md";

/// The first block of YAML of a page that follows the line which begins with `after`, without the indentation that it has in a list. With an
/// empty `after`, the first of the page.
pub fn yaml(page: &str, after: &str) -> anyhow::Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(page);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    block(&text, after).with_context(|| format!("{page} has no block of YAML after {after:?}"))
}

fn block(text: &str, after: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(after));
    let indentation = lines.find_map(|line| line.trim_end().strip_suffix("```yaml"))?;
    let mut yaml = String::new();
    for line in lines {
        let line = line.strip_prefix(indentation).unwrap_or(line);
        if line.starts_with("```") {
            return Some(yaml);
        }
        yaml.push_str(line);
        yaml.push('\n');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str =
        "Title\n\n```yaml\na: 1\n```\n\n1. Then:\n\n   ```yaml\n   b:\n     c: 2\n\n   ```\n\n```yaml\nunfinished\n";

    #[test]
    fn a_block_is_found_by_the_line_before_it_and_loses_its_indentation() {
        assert_eq!(block(PAGE, "").as_deref(), Some("a: 1\n"));
        assert_eq!(block(PAGE, "1. Then").as_deref(), Some("b:\n  c: 2\n\n"));
    }

    #[test]
    fn a_block_that_does_not_exist_or_end_is_not_found() {
        assert_eq!(block(PAGE, "2. "), None);
        assert_eq!(block("```yaml\nunfinished\n", ""), None);
    }
}
