//! The framing of a tar archive: header blocks, long names, PAX records, data and padding.
//!
//! Headers are decoded by the `tar` crate. The iteration is ours, because the crate's reads long names and PAX
//! records of any size into memory, splits PAX records at newlines (which capability attributes may hold), and does
//! not tell a truncated archive from a whole one.

use std::io::{self, Read};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::pax::PaxRecords;

const BLOCK: usize = 512;

/// Bytes of one long name or one set of PAX records: Go's `archive/tar` has the same limit.
const MAX_EXTENSION_BYTES: u64 = 1 << 20;

/// Segments of one sparse file; each takes 16 bytes of memory.
const MAX_SPARSE_SEGMENTS: usize = 1 << 18;

/// Why the stream is not a tar archive, with the byte offset of the block in question.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The bytes do not have the shape of a tar archive.
    #[error("not a valid tar archive: {what} at byte {offset}")]
    Malformed { what: String, offset: u64 },
    /// The stream ended inside an entry.
    #[error("the archive is cut off at byte {offset}")]
    Truncated { offset: u64 },
    /// The stream itself failed.
    #[error("cannot read the archive at byte {offset}")]
    Read {
        offset: u64,
        #[source]
        source: io::Error,
    },
}

/// One entry with everything that preceded it merged in.
#[derive(Debug)]
pub(crate) struct TarEntry {
    pub(crate) header: Header,
    pub(crate) path: Vec<u8>,
    pub(crate) link: Vec<u8>,
    /// Bytes of data in the archive.
    pub(crate) size: u64,
    pub(crate) pax: PaxRecords,
    /// Segments and real size, for sparse files in the old GNU form.
    pub(crate) gnu_sparse: Option<(Vec<(u64, u64)>, u64)>,
}

/// Reads entries one after the other; the data of the current one is read from the stream itself.
pub(crate) struct TarStream<R> {
    reader: R,
    offset: u64,
    data_left: u64,
    padding: u64,
    globals: PaxRecords,
    /// Whether the end-of-archive block was seen.
    marked_end: bool,
}

impl<R: Read> TarStream<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self {
            reader,
            offset: 0,
            data_left: 0,
            padding: 0,
            globals: PaxRecords::default(),
            marked_end: false,
        }
    }

    /// Whether the archive had its end mark; without one it may have been cut off between two entries.
    pub(crate) fn marked_end(&self) -> bool {
        self.marked_end
    }

    pub(crate) fn into_reader(self) -> R {
        self.reader
    }

    /// The next entry, skipping what is left of the current one.
    pub(crate) fn next_entry(&mut self) -> Result<Option<TarEntry>, TarError> {
        let (mut long_path, mut long_link, mut pax) = (None, None, None);
        loop {
            let Some(header) = self.next_header()? else {
                if long_path.is_some() || long_link.is_some() || pax.is_some() {
                    return Err(self.malformed("a name or attributes without the entry that they are for"));
                }
                return Ok(None);
            };
            let slot = match header.entry_type() {
                EntryType::GNULongName => &mut long_path,
                EntryType::GNULongLink => &mut long_link,
                EntryType::XHeader => &mut pax,
                EntryType::XGlobalHeader => {
                    let records = self.read_extension(&header)?;
                    self.globals
                        .merge(&records)
                        .map_err(|what| self.malformed(what))?;
                    continue;
                }
                _ => return self.finish_entry(header, long_path, long_link, pax).map(Some),
            };
            if slot.is_some() {
                return Err(self.malformed("two sets of names or attributes for one entry"));
            }
            *slot = Some(self.read_extension(&header)?);
        }
    }

    fn finish_entry(
        &mut self,
        header: Header,
        long_path: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
        pax: Option<Vec<u8>>,
    ) -> Result<TarEntry, TarError> {
        let mut records = self.globals.clone();
        if let Some(pax) = pax {
            records.merge(&pax).map_err(|what| self.malformed(what))?;
        }
        let size = match records.number(b"size").map_err(|what| self.malformed(what))? {
            Some(size) => size,
            None => header
                .entry_size()
                .map_err(|source| self.malformed(&source.to_string()))?,
        };
        let path = long_path
            .map(trim_nul)
            .or_else(|| records.get(b"path").map(<[u8]>::to_vec));
        let link = long_link
            .map(trim_nul)
            .or_else(|| records.get(b"linkpath").map(<[u8]>::to_vec));
        let mut entry = TarEntry {
            path: path.unwrap_or_else(|| header.path_bytes().into_owned()),
            link: link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned()),
            size,
            pax: records,
            gnu_sparse: None,
            header,
        };
        if entry.header.entry_type() == EntryType::GNUSparse {
            entry.gnu_sparse = Some(self.read_gnu_sparse(&entry.header)?);
        }
        // These have no data whatever their size field says; Go's `archive/tar` reads them alike.
        let dataless = matches!(
            entry.header.entry_type(),
            EntryType::Link
                | EntryType::Symlink
                | EntryType::Char
                | EntryType::Block
                | EntryType::Directory
                | EntryType::Fifo
        );
        if dataless {
            entry.size = 0;
        }
        self.expect_data(entry.size)?;
        Ok(entry)
    }

    /// The next header block that is not an end mark, checked.
    fn next_header(&mut self) -> Result<Option<Header>, TarError> {
        self.skip_rest()?;
        if self.marked_end {
            return Ok(None);
        }
        let mut header = Header::new_old();
        if !self.read_block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            self.marked_end = true;
            return Ok(None);
        }
        let bytes = header.as_bytes();
        let sum = bytes[..148]
            .iter()
            .chain(&bytes[156..])
            .map(|byte| u32::from(*byte))
            .sum::<u32>()
            + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(self.malformed("a header whose checksum is wrong"));
        }
        Ok(Some(header))
    }

    fn read_extension(&mut self, header: &Header) -> Result<Vec<u8>, TarError> {
        let size = header
            .entry_size()
            .map_err(|source| self.malformed(&source.to_string()))?;
        if size > MAX_EXTENSION_BYTES {
            return Err(self.malformed(&format!(
                "names or attributes of {size} bytes (at most {MAX_EXTENSION_BYTES} are accepted)"
            )));
        }
        self.expect_data(size)?;
        let mut bytes = Vec::new();
        Read::by_ref(self)
            .read_to_end(&mut bytes)
            .map_err(|source| self.failed(source))?;
        Ok(bytes)
    }

    fn read_gnu_sparse(&mut self, header: &Header) -> Result<(Vec<(u64, u64)>, u64), TarError> {
        let Some(gnu) = header.as_gnu() else {
            return Err(self.malformed("a sparse file without a GNU header"));
        };
        let real_size = gnu
            .real_size()
            .map_err(|source| self.malformed(&source.to_string()))?;
        let mut segments = Vec::new();
        self.add_segments(&mut segments, &gnu.sparse)?;
        let mut extended = gnu.is_extended();
        while extended {
            let mut block = GnuExtSparseHeader::new();
            if !self.read_block(block.as_mut_bytes())? {
                return Err(TarError::Truncated { offset: self.offset });
            }
            self.add_segments(&mut segments, block.sparse())?;
            extended = block.is_extended();
        }
        Ok((segments, real_size))
    }

    fn add_segments(
        &self,
        segments: &mut Vec<(u64, u64)>,
        found: &[GnuSparseHeader],
    ) -> Result<(), TarError> {
        for block in found.iter().filter(|block| !block.is_empty()) {
            let pair = block.offset().and_then(|offset| Ok((offset, block.length()?)));
            segments.push(pair.map_err(|source| self.malformed(&source.to_string()))?);
        }
        if segments.len() > MAX_SPARSE_SEGMENTS {
            return Err(self.malformed("a sparse file of too many segments"));
        }
        Ok(())
    }

    fn expect_data(&mut self, size: u64) -> Result<(), TarError> {
        self.data_left = size;
        self.padding = (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64;
        match size.checked_add(self.offset) {
            Some(_) => Ok(()),
            None => Err(self.malformed("an entry of impossible size")),
        }
    }

    /// Reads and forgets what is left of the current entry and its padding.
    fn skip_rest(&mut self) -> Result<(), TarError> {
        let mut buffer = [0; 8192];
        loop {
            let read = self.read(&mut buffer).map_err(|source| self.failed(source))?;
            if read == 0 {
                break;
            }
        }
        let mut padding = [0; BLOCK];
        let length = usize::try_from(self.padding).unwrap_or(0);
        self.padding = 0;
        let read = self.fill(&mut padding[..length])?;
        // The padding of the very last entry is sometimes left out together with the end mark.
        if read == length || read == 0 {
            Ok(())
        } else {
            Err(TarError::Truncated { offset: self.offset })
        }
    }

    /// Fills a block; false at a clean end of the stream.
    fn read_block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        match self.fill(block)? {
            0 => Ok(false),
            BLOCK => Ok(true),
            _ => Err(TarError::Truncated { offset: self.offset }),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.reader.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => {
                    filled += read;
                    self.offset += read as u64;
                }
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(filled)
    }

    /// What a failure to read means; an end of the stream inside data is a truncation.
    pub(crate) fn failed(&self, source: io::Error) -> TarError {
        if source.kind() == io::ErrorKind::UnexpectedEof {
            TarError::Truncated { offset: self.offset }
        } else {
            TarError::Read {
                offset: self.offset,
                source,
            }
        }
    }

    fn malformed(&self, what: &str) -> TarError {
        TarError::Malformed {
            what: what.to_owned(),
            offset: self.offset,
        }
    }
}

/// The data of the current entry.
impl<R: Read> Read for TarStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let want = usize::try_from(self.data_left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if want == 0 {
            return Ok(0);
        }
        let read = self.reader.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.data_left -= read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

/// GNU long names end in a NUL.
fn trim_nul(mut name: Vec<u8>) -> Vec<u8> {
    if name.last() == Some(&0) {
        name.pop();
    }
    name
}
