//! Forms with files, `multipart/form-data`, read as they come: nothing of a file is kept here.
//!
//! Browsers write them as the HTML standard says: the delimiter, headers of each field, its bytes; in names, quotes and the ends of
//! lines are percent-encoded.

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt, stream};

/// How long the headers of a field may be, and a field that is no file.
const MOST: usize = 8 * 1024;

/// Why a form cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    #[error("the form ended early, or its bytes did not come in time")]
    NotCome,
    #[error("the form is not written as browsers write them")]
    Malformed,
    #[error("a field of the form is longer than {MOST} bytes")]
    TooLong,
}

/// A form on its way in.
pub(super) struct Form<S> {
    body: S,
    buffer: BytesMut,
    delimiter: Vec<u8>,
    /// Whether the buffer begins with bytes of a field, or with what follows a delimiter.
    in_field: bool,
}

/// The head of a field; its bytes are read next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) file_name: Option<String>,
    pub(super) content_type: Option<String>,
}

/// The boundary of a form with files, if the content type is that of one.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let parameters = content_type.strip_prefix("multipart/form-data;")?;
    let boundary = parameters
        .split(';')
        .find_map(|p| p.trim().strip_prefix("boundary="))?;
    let boundary = boundary.trim_matches('"');
    // As long as the standard of mail allows.
    (1..=70).contains(&boundary.len()).then(|| boundary.to_owned())
}

impl<S, E> Form<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    pub(super) fn new(body: S, boundary: &str) -> Self {
        Self {
            body,
            // The first delimiter has no line before it whose end would belong to it.
            buffer: BytesMut::from(&b"\r\n"[..]),
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            in_field: true,
        }
    }

    /// The next field, past what is left of the one before; none after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Field>, FormError> {
        while self.bytes().await?.is_some() {}
        while self.buffer.len() < 2 {
            self.read().await?;
        }
        let after = self.buffer.split_to(2);
        match &after[..] {
            b"--" => return Ok(None),
            b"\r\n" => {}
            _ => return Err(FormError::Malformed),
        }
        const END: &[u8] = b"\r\n\r\n";
        let end = loop {
            match find(&self.buffer, END) {
                Some(end) => break end,
                None if self.buffer.len() > MOST => return Err(FormError::TooLong),
                None => self.read().await?,
            }
        };
        let head = self.buffer.split_to(end + END.len());
        let head = std::str::from_utf8(&head[..end]).map_err(|_| FormError::Malformed)?;
        self.in_field = true;
        Field::of_head(head).map(Some).ok_or(FormError::Malformed)
    }

    /// Bytes of the field that was given last; none at its end.
    pub(super) async fn bytes(&mut self) -> Result<Option<Bytes>, FormError> {
        while self.in_field {
            if let Some(end) = find(&self.buffer, &self.delimiter) {
                let bytes = self.buffer.split_to(end).freeze();
                if bytes.is_empty() {
                    let _ = self.buffer.split_to(self.delimiter.len());
                    self.in_field = false;
                    return Ok(None);
                }
                return Ok(Some(bytes));
            }
            // What may be the beginning of a delimiter waits for what follows it.
            let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if certain > 0 {
                return Ok(Some(self.buffer.split_to(certain).freeze()));
            }
            self.read().await?;
        }
        Ok(None)
    }

    /// The field that was given last, as a text.
    pub(super) async fn text(&mut self) -> Result<String, FormError> {
        let mut text = Vec::new();
        while let Some(bytes) = self.bytes().await? {
            text.extend_from_slice(&bytes);
            if text.len() > MOST {
                return Err(FormError::TooLong);
            }
        }
        String::from_utf8(text).map_err(|_| FormError::Malformed)
    }

    /// The bytes of the field that was given last, as they come.
    pub(super) fn into_bytes(self) -> impl Stream<Item = Result<Bytes, FormError>> {
        stream::unfold(Some(self), async |form| {
            let mut form = form?;
            match form.bytes().await {
                Ok(bytes) => Some((Ok(bytes?), Some(form))),
                Err(error) => Some((Err(error), None)),
            }
        })
    }

    async fn read(&mut self) -> Result<(), FormError> {
        match self.body.next().await {
            Some(Ok(bytes)) => {
                self.buffer.extend_from_slice(&bytes);
                Ok(())
            }
            Some(Err(_)) | None => Err(FormError::NotCome),
        }
    }
}

impl Field {
    fn of_head(head: &str) -> Option<Self> {
        let mut field = Self::default();
        for line in head.split("\r\n") {
            let (name, value) = line.split_once(':')?;
            match name.to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    let mut rest = value.trim().strip_prefix("form-data")?;
                    while let Some((name, after)) = rest.split_once("=\"") {
                        let (value, after) = after.split_once('"')?;
                        match name.trim_matches([';', ' ']) {
                            "name" => field.name = decoded(value),
                            "filename" => field.file_name = Some(decoded(value)),
                            _ => {}
                        }
                        rest = after;
                    }
                }
                "content-type" => field.content_type = Some(value.trim().to_owned()),
                _ => {}
            }
        }
        (!field.name.is_empty()).then_some(field)
    }
}

/// A name as it was before a browser wrote it.
fn decoded(name: &str) -> String {
    name.replace("%22", "\"")
        .replace("%0D", "\r")
        .replace("%0A", "\n")
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;

    /// Every field of a form that comes in pieces of so many bytes.
    async fn fields(form: &[u8], piece: usize) -> Result<Vec<(Field, Vec<u8>)>, FormError> {
        let pieces: Vec<_> = form
            .chunks(piece)
            .map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece)))
            .collect();
        let mut form = Form::new(stream::iter(pieces), "b");
        let mut fields = Vec::new();
        while let Some(field) = form.next().await? {
            let mut content = Vec::new();
            while let Some(bytes) = form.bytes().await? {
                content.extend_from_slice(&bytes);
            }
            fields.push((field, content));
        }
        Ok(fields)
    }

    const FORM: &[u8] = b"--b\r\nContent-Disposition: form-data; name=\"token\"\r\n\r\nt\r\n--b\r\n\
        Content-Disposition: form-data; name=\"file\"; filename=\"a; name=\xc3\xa9%22.csv\"\r\n\
        Content-Type: text/csv\r\n\r\na\r\n--\r\n--x\r\n--b--\r\n";

    #[tokio::test]
    async fn a_form_in_pieces_of_any_size() {
        let file = Field {
            name: "file".to_owned(),
            file_name: Some("a; name=é\".csv".to_owned()),
            content_type: Some("text/csv".to_owned()),
        };
        let token = Field {
            name: "token".to_owned(),
            ..Field::default()
        };
        let expected = [(token, b"t".to_vec()), (file, b"a\r\n--\r\n--x".to_vec())];
        for piece in 1..=FORM.len() {
            assert_eq!(fields(FORM, piece).await.unwrap(), expected, "{piece}");
        }
        // One that is cut off is none, wherever that is.
        for end in 0..FORM.len() - 4 {
            assert!(fields(&FORM[..end], 7).await.is_err(), "{end}");
        }
    }

    #[tokio::test]
    async fn what_no_browser_writes() {
        for form in [
            &b"--c\r\n\r\n\r\n--c--"[..],
            b"--b x",
            b"--b\r\nContent-Disposition: form-data\r\n\r\n\r\n--b--",
            b"--b\r\nContent-Disposition: form-data; name=\"a\r\n\r\n\r\n--b--",
            b"--b\r\nno header\r\n\r\n\r\n--b--",
        ] {
            assert!(
                fields(form, 100).await.is_err(),
                "{}",
                String::from_utf8_lossy(form)
            );
        }
        let endless = [b"--b\r\nA: ", &[b'a'; 2 * MOST][..]].concat();
        assert!(matches!(fields(&endless, 100).await, Err(FormError::TooLong)));
        assert_eq!(
            boundary("multipart/form-data; boundary=\"a b\"").as_deref(),
            Some("a b")
        );
        assert_eq!(
            boundary("multipart/form-data; boundary=----x").as_deref(),
            Some("----x")
        );
        assert_eq!(boundary("multipart/form-data; boundary="), None);
        assert_eq!(boundary("multipart/mixed; boundary=b"), None);
    }

    proptest! {
        #[test]
        fn bytes_of_a_file_come_as_they_were(
            content in proptest::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), any::<u8>()], 0..200),
            piece in 1_usize..50,
        ) {
            prop_assume!(find(&content, b"\r\n--b").is_none());
            let head = b"--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\n\r\n";
            let form = [&head[..], &content, b"\r\n--b--\r\n"].concat();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let read = runtime.block_on(fields(&form, piece)).unwrap();
            prop_assert_eq!(&read[0].1, &content);
        }
    }
}
