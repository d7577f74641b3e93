//! Writing the log: whole records only, rotated by size, never in the container's way.
//!
//! A full disk loses records, not the container: what could not be written is counted, and said in the log once there
//! is room again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use shoal_run_dir::log::{self, Stream};
use shoal_run_dir::message::MAX_LOG_FILES;

/// The log of one container.
#[derive(Debug)]
pub(crate) struct Log {
    directory: PathBuf,
    id: String,
    max_size: u64,
    max_files: u32,
    file: Option<File>,
    size: u64,
    lost: u64,
}

impl Log {
    /// Nothing is opened before there is something to write.
    pub(crate) fn new(directory: PathBuf, id: String, max_size: u64, max_files: u32) -> Self {
        Self {
            directory,
            id,
            max_size,
            max_files: max_files.max(1),
            file: None,
            size: 0,
            lost: 0,
        }
    }

    /// Appends whole records.
    pub(crate) fn append(&mut self, records: &[u8], count: u64, at_ns: u64) {
        if records.is_empty() {
            return;
        }
        if self.lost > 0 {
            let mut note = Vec::new();
            let text = format!("shoal: {} records of this log could not be written\n", self.lost);
            log::append_record(&mut note, text.as_bytes(), Stream::Stderr, at_ns);
            if self.write(&note).is_ok() {
                self.lost = 0;
            }
        }
        if self.write(records).is_err() {
            self.lost = self.lost.saturating_add(count);
        }
    }

    /// The files as they are now, for a client to read: the oldest first, and the size of the last.
    pub(crate) fn files(&self) -> io::Result<(Vec<OwnedFd>, u64)> {
        let mut files = Vec::new();
        for generation in (0..self.max_files).take(MAX_LOG_FILES) {
            match File::open(log::file(&self.directory, &self.id, generation)) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        let newest = files.first().map(File::metadata).transpose()?;
        let oldest_first = files.into_iter().rev().map(OwnedFd::from).collect();
        Ok((oldest_first, newest.map_or(0, |metadata| metadata.len())))
    }

    fn write(&mut self, records: &[u8]) -> io::Result<()> {
        let length = records.len() as u64;
        if self.size > 0 && self.size.saturating_add(length) > self.max_size {
            self.rotate();
        }
        let size = self.size;
        let file = self.open()?;
        match file.write_all(records) {
            Ok(()) => {
                self.size = size + length;
                Ok(())
            }
            Err(error) => {
                // Half a record is worse than none: readers would take the next one for its end.
                let _nothing_more_to_do = file.set_len(size);
                Err(error)
            }
        }
    }

    fn open(&mut self) -> io::Result<&mut File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => {
                let path = log::file(&self.directory, &self.id, 0);
                let file = File::options().create(true).append(true).open(path)?;
                self.size = file.metadata()?.len();
                file
            }
        };
        Ok(self.file.insert(file))
    }

    /// What cannot be renamed stays where it is, and is written on.
    fn rotate(&mut self) {
        let name = |generation| log::file(&self.directory, &self.id, generation);
        let oldest = self.max_files - 1;
        let _may_not_exist = fs::remove_file(name(oldest));
        for generation in (0..oldest).rev() {
            let _may_not_exist = fs::rename(name(generation), name(generation + 1));
        }
        self.file = None;
        self.size = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn rotates_by_size_and_keeps_as_many_files_as_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::new(directory.path().to_owned(), "c".to_owned(), 10, 3);
        for text in ["11111\n", "22222\n", "33333\n", "44444\n"] {
            log.append(text.as_bytes(), 1, 0);
        }
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        assert_eq!(read("c-json.log").unwrap(), "44444\n");
        assert_eq!(read("c-json.log.1").unwrap(), "33333\n");
        assert_eq!(read("c-json.log.2").unwrap(), "22222\n");
        assert_eq!(read("c-json.log.3"), None);
    }

    #[test]
    fn one_file_starts_over() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = Log::new(directory.path().to_owned(), "c".to_owned(), 10, 1);
        log.append(b"11111\n", 1, 0);
        log.append(b"22222\n", 1, 0);
        assert_eq!(
            std::fs::read_to_string(directory.path().join("c-json.log")).unwrap(),
            "22222\n"
        );
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_could_not_be_written_is_counted_and_said() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("later");
        let mut log = Log::new(place.clone(), "c".to_owned(), 1000, 1);
        log.append(b"lost\nlost\n", 2, 0);
        std::fs::create_dir(&place).unwrap();
        log.append(b"kept\n", 1, 0);
        let text = std::fs::read_to_string(place.join("c-json.log")).unwrap();
        assert!(text.contains("2 records") && text.ends_with("kept\n"), "{text}");
    }
}
