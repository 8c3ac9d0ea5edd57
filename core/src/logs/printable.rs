//! Log lines as text that is safe to show.

/// The first character of a terminal's control sequence.
const ESCAPE: char = '\u{1b}';

/// `bytes` as one line without control characters: what is not UTF-8 becomes U+FFFD, a control sequence of a terminal (ECMA-48)
/// disappears, and so does what is invisible or changes the direction of the text. Blanks of any kind become one space each.
pub(super) fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ESCAPE => skip_sequence(&mut letters),
            '\t' | '\r' | '\u{2028}' | '\u{2029}' => shown.push(' '),
            letter if letter.is_control() || is_invisible(letter) => {}
            letter => shown.push(letter),
        }
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// Skips the rest of a sequence: of `ESC [`, all parameters and the final byte from `@` to `~`; of `ESC ]`, all up to BEL or `ESC \`;
/// otherwise one character.
fn skip_sequence(letters: &mut std::str::Chars<'_>) {
    match letters.next() {
        Some('[') => {
            let _ = letters.find(|letter| ('@'..='~').contains(letter));
        }
        Some(']') => {
            let mut before = ' ';
            let _ = letters.find(|letter| {
                let ends = *letter == '\u{7}' || (before == ESCAPE && *letter == '\\');
                before = *letter;
                ends
            });
        }
        _ => {}
    }
}

/// Characters without a glyph that hide or reorder others: those of zero width and those of bidirectional text (UAX #9), the soft hyphen, the
/// byte order mark and tags.
fn is_invisible(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}
