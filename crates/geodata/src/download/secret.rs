//! What must not be seen: account id, licence key, the password of a proxy.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;

/// A text that is written nowhere: it has no `Display`, and its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

impl Secret {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for checks and for the header, never for a message.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Two texts as HTTP's basic authentication sends them.
#[derive(Clone)]
pub(super) struct BasicAuth {
    header: HeaderValue,
    /// In which forms they could come back.
    parts: Vec<Secret>,
}

impl BasicAuth {
    /// `None` if a name has a colon in it, which the other side would take for the end of the name.
    pub(super) fn new(name: &str, password: &Secret) -> Option<Self> {
        if name.contains(':') {
            return None;
        }
        let encoded = STANDARD.encode(format!("{name}:{}", password.reveal()));
        let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
        header.set_sensitive(true);
        Some(Self {
            header,
            parts: vec![password.clone(), Secret::new(encoded)],
        })
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether a text that came from elsewhere has any of it.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.parts
            .iter()
            .any(|part| !part.reveal().is_empty() && text.contains(part.reveal()))
    }
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BasicAuth(..)")
    }
}
