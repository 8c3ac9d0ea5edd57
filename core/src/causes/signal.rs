//! Names of signals.

/// The largest exit code that names a signal: 128 and the highest real-time signal, 64.
const LAST: i32 = 128 + 64;

/// Linux' signals from 1 on, those of x86 and Arm (signal(7)).
const NAMES: [&str; 31] = [
    "SIGHUP",
    "SIGINT",
    "SIGQUIT",
    "SIGILL",
    "SIGTRAP",
    "SIGABRT",
    "SIGBUS",
    "SIGFPE",
    "SIGKILL",
    "SIGUSR1",
    "SIGSEGV",
    "SIGUSR2",
    "SIGPIPE",
    "SIGALRM",
    "SIGTERM",
    "SIGSTKFLT",
    "SIGCHLD",
    "SIGCONT",
    "SIGSTOP",
    "SIGTSTP",
    "SIGTTIN",
    "SIGTTOU",
    "SIGURG",
    "SIGXCPU",
    "SIGXFSZ",
    "SIGVTALRM",
    "SIGPROF",
    "SIGWINCH",
    "SIGIO",
    "SIGPWR",
    "SIGSYS",
];

/// The signal that ended a container, by the kubelet's field or else by its exit code. A program may return such a code
/// by itself: the two cannot be told apart.
pub(crate) fn signal_name(signal: Option<i32>, exit_code: i32) -> Option<String> {
    let by_code = || (129..=LAST).contains(&exit_code).then(|| exit_code - 128);
    let number = signal.filter(|signal| *signal > 0).or_else(by_code)?;
    let name = usize::try_from(number - 1).ok().and_then(|index| NAMES.get(index));
    Some(name.map_or_else(|| format!("signal {number}"), |name| (*name).to_owned()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(None, 0, None)]
    #[case(None, 3, None)]
    #[case(None, 128, None)]
    #[case(None, 129, Some("SIGHUP"))]
    #[case(None, 134, Some("SIGABRT"))]
    #[case(None, 137, Some("SIGKILL"))]
    #[case(None, 139, Some("SIGSEGV"))]
    #[case(None, 143, Some("SIGTERM"))]
    #[case(None, 159, Some("SIGSYS"))]
    #[case(None, 192, Some("signal 64"))]
    #[case(None, 193, None)]
    #[case(None, 255, None)]
    #[case(Some(9), 1, Some("SIGKILL"))]
    #[case(Some(0), 1, None)]
    fn a_signal_is_told_by_the_kubelet_or_the_exit_code(
        #[case] signal: Option<i32>,
        #[case] exit_code: i32,
        #[case] name: Option<&str>,
    ) {
        assert_eq!(signal_name(signal, exit_code).as_deref(), name);
    }
}
