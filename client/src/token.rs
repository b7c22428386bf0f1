//! The secret that every call carries.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use subtle::ConstantTimeEq;

/// A bearer token. Its `Debug` does not show it, so that no log ever does.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Where a token is to be had. A file is read anew at each connection, so that a token may be changed without a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// Given as it is.
    Text(Token),
    /// The first line of this file.
    File(PathBuf),
}

/// What is not a token, or could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BadToken {
    /// Not what fits into a header.
    #[error(
        "the token is empty or holds spaces or characters other than printable ASCII; \
         copy it again as `bourse dev` or your operator gave it"
    )]
    Form,
    /// The file cannot be read.
    #[error(
        "the token file {path:?} cannot be read; name another by --token-file or BOURSE_TOKEN_FILE, or ask its owner"
    )]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("the token file {path:?} holds no token; its first line must be the token and nothing else")]
    File {
        /// Which file.
        path: PathBuf,
    },
}

/// Longer than any token that is made; a file that holds more is something else.
const TOKEN_BYTES_MAX: usize = 4096;

impl Token {
    /// A token is printable ASCII without spaces, at most 4,096 bytes.
    pub fn new(text: impl Into<String>) -> Result<Token, BadToken> {
        let text = text.into();
        let fits =
            !text.is_empty() && text.len() <= TOKEN_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(Token(text)) } else { Err(BadToken::Form) }
    }

    /// The first line of a file.
    pub fn read(path: &Path) -> Result<Token, BadToken> {
        let text = fs::read_to_string(path)
            .map_err(|source| BadToken::Unreadable { path: path.to_owned(), source })?;
        let line = text.lines().next().unwrap_or_default().trim();
        Token::new(line).map_err(|_| BadToken::File { path: path.to_owned() })
    }

    /// The secret itself, for the header.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// The token of an `authorization` header. HTTP does not care about the case of the scheme.
pub fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

/// Whether what was shown is the secret, in a time that does not depend on how much of it is right.
pub fn same_secret(secret: impl AsRef<[u8]>, shown: impl AsRef<[u8]>) -> bool {
    secret.as_ref().ct_eq(shown.as_ref()).into()
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(not shown)")
    }
}

impl TokenSource {
    /// The token as it is now.
    pub fn token(&self) -> Result<Token, BadToken> {
        match self {
            TokenSource::Text(token) => Ok(token.clone()),
            TokenSource::File(path) => Token::read(path),
        }
    }
}

/// In words, for an error about the token: `BOURSE_TOKEN`, or the name of the file.
impl fmt::Display for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSource::Text(_) => f.write_str("as given"),
            TokenSource::File(path) => write!(f, "from {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bourse_hostile::{damaged, judged, soon, text};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new("s3cret").expect("valid");
        assert!(!format!("{token:?} {:?}", TokenSource::Text(token.clone())).contains("s3cret"));
    }

    #[test]
    fn the_first_line_of_the_file_is_the_token_and_a_change_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = TokenSource::File(folder.path().join("token"));
        assert!(matches!(source.token(), Err(BadToken::Unreadable { .. })));
        for (content, token) in [("one\n", "one"), ("two", "two"), (" three \r\n# note\n", "three")] {
            fs::write(folder.path().join("token"), content).expect("written");
            assert_eq!(source.token().expect(content).expose(), token);
        }
        fs::write(folder.path().join("token"), "\n").expect("written");
        assert!(matches!(source.token(), Err(BadToken::File { .. })));
    }

    proptest! {
        #[test]
        fn a_damaged_token_file_is_refused_in_words_or_has_a_token_that_fits_a_header(
            content in text(Just("0123456789abcdef\n# note\n".to_owned())),
        ) {
            let folder = tempfile::tempdir().expect("a folder");
            fs::write(folder.path().join("token"), &content).expect("written");
            if let Some(token) = judged(|| Token::read(&folder.path().join("token"))) {
                prop_assert!(token.expose().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }

        #[test]
        fn any_header_is_none_or_has_a_piece_of_itself_as_token(header in damaged(Just(b"Bearer secret".to_vec()))) {
            if let Some(token) = soon(|| bearer(&header)) {
                prop_assert!(token.len() + 7 <= header.len() && token == token.trim_ascii());
            }
        }
    }

    #[test]
    fn a_bearer_token_is_read_whatever_the_case_of_the_scheme() {
        for header in ["Bearer secret", "bearer secret", "BEARER secret "] {
            assert_eq!(bearer(header.as_bytes()), Some(&b"secret"[..]), "{header}");
        }
        for header in ["Basic secret", "Bearer", "secret", ""] {
            assert_eq!(bearer(header.as_bytes()), None, "{header}");
        }
    }

    #[test]
    fn only_the_whole_secret_is_the_same() {
        assert!(same_secret("s3cret", b"s3cret"));
        for shown in ["", "s3cre", "s3cret!", "S3cret"] {
            assert!(!same_secret("s3cret", shown), "{shown:?}");
        }
    }

    #[test]
    fn what_would_break_a_header_is_no_token() {
        for text in ["", "a b", "a\nb", "ä", &"x".repeat(5000)] {
            assert!(Token::new(text).is_err(), "{text:?}");
        }
    }
}
