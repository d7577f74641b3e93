//! A layer as it comes: compressed or not, hashed after decompression, unpacked while it is read.
//!
//! Called by pull and load; never has a whole layer in memory.

use std::io::{self, Cursor, Read};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::{TarError, UnpackError, UnpackLimits, Unpacked, unpack};
use crate::image::Digest;

/// A layer that was unpacked.
#[derive(Debug)]
pub(crate) struct Layer {
    /// Digest of the archive after decompression.
    pub(crate) diff_id: Digest,
    pub(crate) unpacked: Unpacked,
}

/// Reads the layer to its end, whatever its compression, and unpacks it into the empty directory `dest`.
pub(crate) fn unpack_layer(
    reader: impl Read,
    dest: &Path,
    limits: UnpackLimits,
) -> Result<Layer, UnpackError> {
    let mut hashing = Hashing {
        reader: decompressed(reader)?,
        hasher: Sha256::new(),
        left: limits.bytes,
        over: false,
    };
    let result = unpack(&mut hashing, dest, limits);
    if hashing.over {
        return Err(UnpackError::TooLarge { limit: limits.bytes });
    }
    let unpacked = result?;
    // Padding after the end mark belongs to the digest.
    let drained = io::copy(&mut hashing, &mut io::sink());
    if hashing.over {
        return Err(UnpackError::TooLarge { limit: limits.bytes });
    }
    drained.map_err(|source| TarError::Read {
        offset: limits.bytes - hashing.left,
        source,
    })?;
    Ok(Layer {
        diff_id: Digest::from_hasher(hashing.hasher),
        unpacked,
    })
}

/// The stream after decompression; what it is compressed with is seen from its first bytes, since media types lie.
pub(crate) fn decompressed<'a>(mut reader: impl Read + 'a) -> Result<Box<dyn Read + 'a>, UnpackError> {
    let mut magic = [0; 6];
    let mut filled = 0;
    while filled < magic.len() {
        match reader.read(&mut magic[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(TarError::Read {
                    offset: filled as u64,
                    source,
                }
                .into());
            }
        }
    }
    let whole = Cursor::new(magic).take(filled as u64).chain(reader);
    Ok(match &magic[..filled] {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(whole)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::new(whole);
            Box::new(decoder.map_err(|source| TarError::Read { offset: 0, source })?)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => return Err(UnpackError::Compression("xz")),
        [b'B', b'Z', b'h', ..] => return Err(UnpackError::Compression("bzip2")),
        [b'P', b'K', 3, 4, ..] => return Err(UnpackError::Compression("zip")),
        _ => Box::new(whole),
    })
}

/// Hashes what passes, and stops a stream that is too long.
struct Hashing<R> {
    reader: R,
    hasher: Sha256,
    left: u64,
    over: bool,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.over = true;
                return Err(io::Error::other("the archive is too large"));
            }
        }
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}
