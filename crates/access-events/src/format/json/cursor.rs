//! Walks over JSON text without building anything: what is not asked for is checked and skipped.

use std::borrow::Cow;

use wide::u8x16;

use crate::format::Problem;

/// How deep brackets may be nested, as `serde_json` has it.
pub(crate) const DEEPEST: u32 = 127;

/// Why the text cannot be walked over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// It ends before the value does.
    End,
    /// It is not JSON; where, in bytes, and what was expected.
    Syntax(usize, &'static str),
    /// It is nested deeper than [`DEEPEST`].
    Deep,
    /// It is a document with an array under the key of a holder.
    Holder,
}

/// A place in a text. Each step checks what it goes over; at the end of the text it gives [`Stuck::End`].
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
    depth: u32,
    /// The keys of a document under which there may be an array of records.
    holders: &'static [&'static str],
    /// A bit for each length that they have.
    lengths: u64,
    /// The first value that is not what it should be.
    fault: Option<Problem>,
}

/// A string as it is written, quotes and all.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Quoted<'a> {
    text: &'a [u8],
    escaped: bool,
}

impl<'a> Quoted<'a> {
    /// Whether the string says just this.
    pub(crate) fn is(self, wanted: &str) -> bool {
        if self.escaped {
            return self.decode().is_ok_and(|text| text == wanted);
        }
        &self.text[1..self.text.len() - 1] == wanted.as_bytes()
    }

    /// What the string says.
    pub(crate) fn decode(self) -> Result<Cow<'a, str>, Problem> {
        if self.escaped {
            return match serde_json::from_slice(self.text) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(error) => Err(Problem::Json(format!("a string cannot be read: {error}"))),
            };
        }
        match std::str::from_utf8(&self.text[1..self.text.len() - 1]) {
            Ok(text) => Ok(Cow::Borrowed(text)),
            Err(_) => Err(Problem::NotUtf8),
        }
    }

    /// What a key with escapes says; one that cannot be read is none that anyone looks for.
    #[cold]
    fn key(self) -> Vec<u8> {
        self.decode()
            .map(|text| text.into_owned().into_bytes())
            .unwrap_or_default()
    }
}

/// A bit for a length; those beyond 63 share theirs with others.
#[inline(always)]
fn bit(length: usize) -> u64 {
    1_u64.wrapping_shl(length as u32)
}

impl<'a> Cursor<'a> {
    /// A cursor at the beginning of a text. An array under the key of a holder stops it.
    pub(crate) fn new(text: &'a [u8], holders: &'static [&'static str]) -> Self {
        Self {
            text,
            at: 0,
            depth: 0,
            holders,
            lengths: holders.iter().fold(0, |lengths, key| lengths | bit(key.len())),
            fault: None,
        }
    }

    /// Whether only blanks are left.
    pub(crate) fn is_at_end(&mut self) -> bool {
        self.token() == Err(Stuck::End)
    }

    /// How many bytes are behind the cursor.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The first value that was not what it should be, if there was one. Such values are gone over, so that the rest is
    /// still looked at.
    pub(crate) fn into_fault(self) -> Option<Problem> {
        self.fault
    }

    /// Notes that something is not what it should be.
    #[cold]
    pub(crate) fn note(&mut self, problem: Problem) {
        self.fault.get_or_insert(problem);
    }

    /// Goes over the object that comes next and calls `member` for each of its members, which has to go over the value.
    /// A value that is no object is gone over: `null` is as good as nothing, anything else is a fault.
    #[inline(always)]
    pub(crate) fn object(
        &mut self,
        name: &str,
        mut member: impl FnMut(&mut Self, &[u8]) -> Result<(), Stuck>,
    ) -> Result<(), Stuck> {
        if self.token()? != b'{' {
            return self.other(name, "an object");
        }
        self.at += 1;
        self.deeper()?;
        if self.token()? == b'}' {
            self.at += 1;
        } else {
            loop {
                let key = self.key()?;
                if key.escaped {
                    member(self, &key.key())?;
                } else {
                    let key = &key.text[1..key.text.len() - 1];
                    if self.depth == 1 && self.is_holder(key) && self.token()? == b'[' {
                        return Err(Stuck::Holder);
                    }
                    member(self, key)?;
                }
                match self.token()? {
                    b',' => self.at += 1,
                    b'}' => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Stuck::Syntax(self.at, "`,` or `}`")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    #[inline(always)]
    fn is_holder(&self, key: &[u8]) -> bool {
        self.lengths & bit(key.len()) != 0 && self.holders.iter().any(|holder| holder.as_bytes() == key)
    }

    /// Goes over the array that comes next and calls `element` for each of its elements, which has to go over it. A
    /// value that is no array is gone over: `null` is as good as nothing, anything else is a fault.
    pub(crate) fn array(
        &mut self,
        name: &str,
        mut element: impl FnMut(&mut Self) -> Result<(), Stuck>,
    ) -> Result<(), Stuck> {
        if self.token()? != b'[' {
            return self.other(name, "an array");
        }
        self.at += 1;
        self.deeper()?;
        if self.token()? == b']' {
            self.at += 1;
        } else {
            loop {
                element(self)?;
                match self.token()? {
                    b',' => self.at += 1,
                    b']' => {
                        self.at += 1;
                        break;
                    }
                    _ => return Err(Stuck::Syntax(self.at, "`,` or `]`")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Goes over the string that comes next and gives it. A value that is no string is gone over: `null` is as good as
    /// nothing, anything else is a fault.
    #[inline(always)]
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Quoted<'a>>, Stuck> {
        if self.token()? == b'"' {
            return self.string().map(Some);
        }
        self.other(name, "a string")?;
        Ok(None)
    }

    /// Goes over the object that comes next and gives the string under one of the keys, the last if there are several.
    pub(crate) fn text_in(&mut self, name: &str, keys: &[&str]) -> Result<Option<Quoted<'a>>, Stuck> {
        let mut found = None;
        self.object(name, |cursor, key| {
            if keys.iter().any(|wanted| wanted.as_bytes() == key) {
                found = cursor.text(keys[0])?;
                return Ok(());
            }
            cursor.skip()
        })?;
        Ok(found)
    }

    /// Goes over the whole number that comes next and gives it. A value that is none is gone over: `null` is as good as
    /// nothing, anything else is a fault.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Stuck> {
        if !matches!(self.token()?, b'-' | b'0'..=b'9') {
            self.other(name, "a whole number")?;
            return Ok(None);
        }
        let start = self.at;
        self.number()?;
        let text = str::from_utf8(&self.text[start..self.at]).unwrap_or_default();
        let number = text.parse().ok();
        if number.is_none() {
            self.note(Problem::Json(format!("`{name}` is {text}, not a whole number")));
        }
        Ok(number)
    }

    /// Whether a string, an object or an array begins here.
    pub(crate) fn begins(&mut self, byte: u8) -> Result<bool, Stuck> {
        Ok(self.token()? == byte)
    }

    #[cold]
    #[inline(never)]
    fn other(&mut self, name: &str, wanted: &str) -> Result<(), Stuck> {
        let found = match self.token()? {
            b'n' => None,
            b'"' => Some("a string"),
            b'{' => Some("an object"),
            b'[' => Some("an array"),
            b't' | b'f' => Some("true or false"),
            _ => Some("a number"),
        };
        self.skip()?;
        match found {
            Some(found) if name.is_empty() => {
                self.note(Problem::Json(format!("it is {found}, not {wanted}")))
            }
            Some(found) => self.note(Problem::Json(format!("`{name}` is {found}, not {wanted}"))),
            // A record has to be something; its members need not be.
            None if name.is_empty() => self.note(Problem::Json(format!("it is null, not {wanted}"))),
            None => {}
        }
        Ok(())
    }

    /// Goes over the value that comes next and gives its text.
    pub(crate) fn value(&mut self) -> Result<&'a [u8], Stuck> {
        self.token()?;
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Goes over the value that comes next.
    #[inline(always)]
    pub(crate) fn skip(&mut self) -> Result<(), Stuck> {
        let byte = self.token()?;
        if byte == b'{' || byte == b'[' {
            self.skip_nested()
        } else {
            self.scalar(byte)
        }
    }

    #[inline(never)]
    fn skip_nested(&mut self) -> Result<(), Stuck> {
        let outside = self.depth;
        // Which of the brackets that are open are those of objects, the innermost last. There are no more than DEEPEST.
        let mut objects: u128 = 0;
        loop {
            match self.token()? {
                b'{' => {
                    self.at += 1;
                    self.deeper()?;
                    objects = objects << 1 | 1;
                    if self.token()? != b'}' {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.at += 1;
                    self.deeper()?;
                    objects <<= 1;
                    if self.token()? != b']' {
                        continue;
                    }
                }
                byte => self.scalar(byte)?,
            }
            // A value is behind the cursor, or an empty bracket opened: close what ends here.
            loop {
                if self.depth == outside {
                    return Ok(());
                }
                let byte = self.token()?;
                let in_object = objects & 1 == 1;
                if byte == b',' {
                    self.at += 1;
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                if byte != if in_object { b'}' } else { b']' } {
                    let wanted = if in_object { "`,` or `}`" } else { "`,` or `]`" };
                    return Err(Stuck::Syntax(self.at, wanted));
                }
                self.at += 1;
                objects >>= 1;
                self.depth -= 1;
            }
        }
    }

    #[inline(always)]
    fn deeper(&mut self) -> Result<(), Stuck> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Stuck::Deep);
        }
        Ok(())
    }

    /// A key and the colon after it.
    #[inline(always)]
    fn key(&mut self) -> Result<Quoted<'a>, Stuck> {
        if self.token()? != b'"' {
            return Err(Stuck::Syntax(self.at, "a key in quotes"));
        }
        let key = self.string()?;
        if self.token()? != b':' {
            return Err(Stuck::Syntax(self.at, "`:`"));
        }
        self.at += 1;
        Ok(key)
    }

    #[inline(always)]
    fn scalar(&mut self, first: u8) -> Result<(), Stuck> {
        match first {
            b'"' => self.string().map(drop),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            b'-' | b'0'..=b'9' => self.number(),
            _ => Err(Stuck::Syntax(self.at, "a value")),
        }
    }

    #[inline(always)]
    fn peek(&self) -> Result<u8, Stuck> {
        self.text.get(self.at).copied().ok_or(Stuck::End)
    }

    /// The next byte that is no blank.
    #[inline(always)]
    fn token(&mut self) -> Result<u8, Stuck> {
        loop {
            let byte = self.peek()?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Ok(byte);
            }
            self.at += 1;
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Stuck> {
        for byte in word {
            if self.peek()? != *byte {
                return Err(Stuck::Syntax(self.at, "a value"));
            }
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stuck> {
        if self.peek()? == b'-' {
            self.at += 1;
        }
        if self.peek()? == b'0' {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek()? == b'.' {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek()?, b'e' | b'E') {
            self.at += 1;
            if matches!(self.peek()?, b'+' | b'-') {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Stuck> {
        if !self.peek()?.is_ascii_digit() {
            return Err(Stuck::Syntax(self.at, "a digit"));
        }
        while self.peek()?.is_ascii_digit() {
            self.at += 1;
        }
        Ok(())
    }

    /// The string whose quote is next.
    #[inline]
    fn string(&mut self) -> Result<Quoted<'a>, Stuck> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.find_special()? {
                b'"' => {
                    self.at += 1;
                    let text = &self.text[start..self.at];
                    return Ok(Quoted { text, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(Stuck::Syntax(self.at, "a control character written as an escape")),
            }
        }
    }

    /// Goes to the next quote, backslash or control character.
    #[inline(always)]
    fn find_special(&mut self) -> Result<u8, Stuck> {
        while let Some(Ok(block)) = self.text.get(self.at..self.at + 16).map(<[u8; 16]>::try_from) {
            let block = u8x16::from(block);
            let control = block.min(u8x16::splat(0x1f)).simd_eq(block);
            let found = block.simd_eq(u8x16::splat(b'"')) | block.simd_eq(u8x16::splat(b'\\')) | control;
            let found = found.to_bitmask();
            if found != 0 {
                self.at += found.trailing_zeros() as usize;
                return self.peek();
            }
            self.at += 16;
        }
        loop {
            let byte = self.peek()?;
            if matches!(byte, b'"' | b'\\' | 0..0x20) {
                return Ok(byte);
            }
            self.at += 1;
        }
    }

    /// The escape whose backslash is next.
    #[inline(never)]
    fn escape(&mut self) -> Result<(), Stuck> {
        self.at += 1;
        match self.peek()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 1,
            b'u' => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek()?.is_ascii_hexdigit() {
                        return Err(Stuck::Syntax(self.at, "four hexadecimal digits"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(Stuck::Syntax(self.at, "an escape that JSON knows")),
        }
        Ok(())
    }
}
