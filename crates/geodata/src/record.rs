//! What is read of the records of a MaxMind database.

use std::collections::HashMap;
use std::sync::Arc;

use crate::mmdb::{Section, Value, record_fuel};
use crate::{Asn, Country, CountryCode, CountrySource, Fault};

/// The longest name that is believed.
pub(crate) const LONGEST_NAME: usize = 1024;

/// Reads countries out of records, and remembers: a few records serve many networks, and a few countries many records.
#[derive(Debug)]
pub(crate) struct CountryReader<'a> {
    sources: &'a [CountrySource],
    language: &'a str,
    names: Names,
    records: Memory<Option<Country>>,
    places: Memory<Option<Country>>,
}

impl<'a> CountryReader<'a> {
    /// For a walk.
    pub(crate) fn new(sources: &'a [CountrySource], language: &'a str) -> Self {
        Self {
            sources,
            language,
            names: Names::default(),
            records: Memory::with_slots(32_768),
            places: Memory::with_slots(1024),
        }
    }

    /// For one record, without the memory.
    pub(crate) fn once(sources: &'a [CountrySource], language: &'a str) -> Self {
        Self {
            sources,
            language,
            names: Names::default(),
            records: Memory::with_slots(1),
            places: Memory::with_slots(1),
        }
    }

    /// The country of the record at a place.
    pub(crate) fn read(&mut self, data: Section<'_>, place: usize) -> Result<Option<Country>, Fault> {
        if let Some(known) = self.records.get(place) {
            return Ok(known.clone());
        }
        let country = self.decode(data, place)?;
        self.records.put(place, country.clone());
        Ok(country)
    }

    fn decode(&mut self, data: Section<'_>, place: usize) -> Result<Option<Country>, Fault> {
        if self.sources.is_empty() {
            return Ok(None);
        }
        let (record, _) = data.resolved(place)?;
        let mut fuel = record_fuel();
        // The country that counts first comes early in a record, and then the rest need not be looked at.
        let first = self.sources.first().copied();
        let mut country = None;
        let mut found = [None; 3];
        data.entries(record, &mut fuel, |key, value, fuel| {
            let source = match key {
                b"country" => CountrySource::Located,
                b"registered_country" => CountrySource::Registered,
                b"represented_country" => CountrySource::Represented,
                _ => return Ok(false),
            };
            if Some(source) == first {
                country = self.country_at(data, value, fuel)?;
            }
            found[source as usize] = Some(value);
            Ok(country.is_some())
        })?;
        if country.is_some() {
            return Ok(country);
        }
        for source in self.sources.iter().skip(1) {
            let Some(value) = found[*source as usize] else {
                continue;
            };
            if let Some(country) = self.country_at(data, value, &mut fuel)? {
                return Ok(Some(country));
            }
        }
        Ok(None)
    }

    fn country_at(
        &mut self,
        data: Section<'_>,
        value: Value,
        fuel: &mut u32,
    ) -> Result<Option<Country>, Fault> {
        if let Some(known) = self.places.get(value.at) {
            return Ok(known.clone());
        }
        let mut code = None;
        let mut names = None;
        data.entries(value, fuel, |key, value, _| {
            match key {
                b"iso_code" => code = Some(value),
                b"names" => names = Some(value),
                _ => {}
            }
            Ok(code.is_some() && names.is_some())
        })?;
        let country = match code {
            Some(code) => Some(self.country(data, code, names, fuel)?),
            None => None,
        };
        self.places.put(value.at, country.clone());
        Ok(country)
    }

    fn country(
        &mut self,
        data: Section<'_>,
        code: Value,
        names: Option<Value>,
        fuel: &mut u32,
    ) -> Result<Country, Fault> {
        let code = country_code(data, code)?;
        let (mut chosen, mut english) = (None, None);
        if let Some(names) = names {
            data.entries(names, fuel, |key, value, _| {
                if key == self.language.as_bytes() {
                    chosen = Some(value);
                }
                if key == b"en" {
                    english = Some(value);
                }
                Ok(chosen.is_some() && english.is_some())
            })?;
        }
        let [chosen, english] = [chosen, english].map(|value| value.map(|value| name(data, value)));
        let (chosen, english) = (chosen.transpose()?, english.transpose()?);
        Ok(self.names.country(code, chosen, english))
    }
}

pub(crate) fn country_code(data: Section<'_>, value: Value) -> Result<CountryCode, Fault> {
    let text = name(data, value)?;
    text.parse()
        .map_err(|error: crate::ParseCountryCodeError| data.fault(value.at, error))
}

/// A text that is not absurdly long.
pub(crate) fn name<'a>(data: Section<'a>, value: Value) -> Result<&'a str, Fault> {
    if data.raw_text(value)?.len() > LONGEST_NAME {
        return Err(data.fault(value.at, format_args!("a name of {} bytes", value.size)));
    }
    data.text(value)
}

/// Reads autonomous systems out of records, and remembers.
#[derive(Debug)]
pub(crate) struct AsnReader {
    records: Memory<Option<Asn>>,
}

impl AsnReader {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            records: Memory::with_slots(slots),
        }
    }

    pub(crate) fn read(&mut self, data: Section<'_>, place: usize) -> Result<Option<Asn>, Fault> {
        if let Some(known) = self.records.get(place) {
            return Ok(known.clone());
        }
        let (record, _) = data.resolved(place)?;
        let (mut number, mut organization) = (None, None);
        data.entries(record, &mut record_fuel(), |key, value, _| {
            match key {
                b"autonomous_system_number" => number = Some(value),
                b"autonomous_system_organization" => organization = Some(value),
                _ => {}
            }
            Ok(false)
        })?;
        let asn = match number {
            Some(value) => {
                let number = data.unsigned(value)?;
                let number = number.try_into();
                Some(Asn {
                    number: number
                        .map_err(|_| data.fault(value.at, "a number that is not one of a system"))?,
                    organization: organization
                        .map(|value| name(data, value))
                        .transpose()?
                        .map(Arc::from),
                })
            }
            None => None,
        };
        self.records.put(place, asn.clone());
        Ok(asn)
    }
}

/// Country names, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Names(HashMap<CountryCode, Country>);

impl Names {
    /// A country by its name in the language asked for and in English; an empty one counts as none.
    pub(crate) fn country(
        &mut self,
        code: CountryCode,
        chosen: Option<&str>,
        english: Option<&str>,
    ) -> Country {
        let [chosen, english] = [chosen, english].map(|name| name.filter(|name| !name.is_empty()));
        let name = chosen.or(english).unwrap_or(code.as_str());
        let english = english.filter(|english| *english != name);
        match self.0.get(&code) {
            Some(known) if *known.name == *name && known.english.as_deref() == english => known.clone(),
            _ => {
                let country = Country {
                    code,
                    name: name.into(),
                    english: english.map(Arc::from),
                };
                self.0.insert(code, country.clone());
                country
            }
        }
    }
}

/// What was read at some places of a file: a table of fixed size in which the newer takes the room of the older.
#[derive(Debug)]
struct Memory<T>(Box<[Option<(usize, T)>]>);

impl<T> Memory<T> {
    /// `slots` is a power of two.
    fn with_slots(slots: usize) -> Self {
        Self((0..slots).map(|_| None).collect())
    }

    fn slot(&self, place: usize) -> usize {
        // Fibonacci hashing: neighbours are spread.
        let hash = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        hash as usize & (self.0.len() - 1)
    }

    fn get(&self, place: usize) -> Option<&T> {
        match &self.0[self.slot(place)] {
            Some((known, value)) if *known == place => Some(value),
            _ => None,
        }
    }

    fn put(&mut self, place: usize, value: T) {
        let slot = self.slot(place);
        self.0[slot] = Some((place, value));
    }
}
