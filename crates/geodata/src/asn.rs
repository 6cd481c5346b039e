//! Databases of autonomous systems, beside those of countries.

use std::net::Ipv4Addr;
use std::path::Path;

use crate::csv::Table;
use crate::database::{check_type, flaw_error};
use crate::mmdb::Mmdb;
use crate::record::AsnReader;
use crate::source::{self, Content, Wanted};
use crate::{Asn, Error, OpenOptions};

/// Who routes an address.
pub(crate) struct AsnDatabase {
    content: Kind,
    title: String,
}

enum Kind {
    Mmdb(Mmdb),
    Csv(Table<Option<Asn>>),
}

impl AsnDatabase {
    pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let title = format!("the database `{}`", path.display());
        let source = source::open(path, &title, options, Wanted::Systems)?;
        let content = match source.content {
            Content::Mmdb(bytes, _) => {
                let database = Mmdb::new(bytes).map_err(|source| Error::Damaged {
                    database: title.clone(),
                    source,
                })?;
                check_type(&database.facts.database_type, &title, Wanted::Systems)?;
                Kind::Mmdb(database)
            }
            Content::Csv(files) => {
                check_type(&files.database_type, &title, Wanted::Systems)?;
                let table = Table::of_systems(&files.ipv4);
                Kind::Csv(table.map_err(|flaw| flaw_error(flaw, &title))?)
            }
        };
        Ok(Self { content, title })
    }

    /// For many addresses, one after the other.
    pub(crate) fn walk(&self) -> AsnWalk<'_> {
        AsnWalk {
            database: self,
            reader: AsnReader::new(1024),
        }
    }
}

/// Looks up systems and remembers the records it has read.
pub(crate) struct AsnWalk<'a> {
    database: &'a AsnDatabase,
    reader: AsnReader,
}

impl AsnWalk<'_> {
    pub(crate) fn system(&mut self, ip: Ipv4Addr) -> Result<Option<Asn>, Error> {
        let database = self.database;
        let mmdb = match &database.content {
            Kind::Mmdb(mmdb) => mmdb,
            Kind::Csv(table) => return Ok(table.lookup(ip).and_then(|(_, asn)| asn.clone())),
        };
        let found = mmdb.lookup(ip.into()).map_err(|source| Error::Damaged {
            database: database.title.clone(),
            source,
        })?;
        let Some((place, _)) = found else {
            return Ok(None);
        };
        self.reader
            .read(mmdb.data(), place)
            .map_err(|source| Error::Record {
                database: database.title.clone(),
                network: ip.to_string(),
                source,
            })
    }
}
