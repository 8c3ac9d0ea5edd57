//! How the creator of a Job or pod opts in or out.

/// What a value of [`crate::names::label::INJECT`] on a Job or pod asks for, as a label or as an annotation.
///
/// `"true"` and `"false"` are the documented words. The others are what people write who know other injectors
/// (`linkerd.io/inject: disabled`, `sidecar.istio.io/inject: "no"`): they are obeyed, and admission warns of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Be watched.
    In,
    /// Be left alone.
    Out,
}

/// The words that opt in; the chart's webhook configuration repeats them.
pub const IN: [&str; 5] = ["true", "enabled", "enable", "yes", "on"];

/// The words that opt out.
pub const OUT: [&str; 7] = ["false", "disabled", "disable", "no", "off", "none", "skip"];

impl Choice {
    /// The choice that `value` expresses, in whatever case; `None` for any other word.
    pub fn of(value: &str) -> Option<Self> {
        let is = |word: &&str| word.eq_ignore_ascii_case(value);
        if IN.iter().any(is) { Some(Self::In) } else { OUT.iter().any(is).then_some(Self::Out) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_recognised_in_any_case() {
        let of = ["true", "Enabled", "YES", "false", "Disabled", "off", "", "maybe", "1"].map(Choice::of);
        let (yes, no) = (Some(Choice::In), Some(Choice::Out));
        assert_eq!(of, [yes, yes, yes, no, no, no, None, None, None]);
    }
}
