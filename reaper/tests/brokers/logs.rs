//! Everything that is logged while tests run, at every level.

use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use tracing_subscriber::{filter::LevelFilter, fmt::MakeWriter};

static LINES: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static STARTED: OnceLock<()> = OnceLock::new();

/// Starts to record, once in this process.
pub(crate) fn record() {
    STARTED.get_or_init(|| {
        tracing_subscriber::fmt().with_max_level(LevelFilter::TRACE).with_ansi(false).with_writer(Recorder).init();
    });
    tracing::trace!("recording");
}

/// Whether the word was recorded: as text, or as the list of its bytes, which is what `{:?}` makes of a body.
pub(crate) fn mention(word: &str) -> bool {
    let text = String::from_utf8_lossy(&lines()).into_owned();
    assert!(text.contains("recording"), "nothing is recorded");
    let bytes = format!("{:?}", word.as_bytes());
    text.contains(word) || text.contains(bytes.trim_matches(['[', ']']))
}

fn lines() -> MutexGuard<'static, Vec<u8>> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Recorder;

impl<'a> MakeWriter<'a> for Recorder {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

impl Write for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lines().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
