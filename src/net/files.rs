//! Files of certificates, keys, lists and secrets.
//!
//! Owns how they are read and what is said about those that cannot be used. Must not log what is in
//! them.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::limits::{O_NOCTTY, O_NONBLOCK};

/// What a file may hold, in bytes. A daemon reads it between two turns of its loop.
const MAX_BYTES: u64 = 4 << 20;
/// Permissions of everyone.
const EVERYONE: u32 = 0o007;

/// A file that a setting names, read.
pub(super) struct File {
    /// With its section: `[tls] key`.
    setting: &'static str,
    path: PathBuf,
    bytes: Vec<u8>,
}

/// A file that nobody else may read.
pub(super) struct Private(File);

impl File {
    pub(super) fn read(setting: &'static str, path: &Path) -> Result<File, String> {
        let mut file = File { setting, path: path.to_owned(), bytes: Vec::new() };
        file.bytes = file.load(false).map_err(|error| file.wrong(&error.to_string()))?;
        Ok(file)
    }

    /// The same for one that nobody else may read.
    pub(super) fn read_private(setting: &'static str, path: &Path) -> Result<Private, String> {
        let mut file = File { setting, path: path.to_owned(), bytes: Vec::new() };
        file.bytes = file.load(true).map_err(|error| file.wrong(&error.to_string()))?;
        Ok(Private(file))
    }

    /// Never waits: a pipe is refused.
    fn load(&self, is_private: bool) -> io::Result<Vec<u8>> {
        let mut options = OpenOptions::new();
        let file = options.read(true).custom_flags(O_NONBLOCK | O_NOCTTY).open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if is_private && mode & EVERYONE != 0 {
            let path = self.path.display();
            return Err(io::Error::other(format!(
                "everyone on this machine may read or change it (mode {mode:04o}): chmod 640 {path}"
            )));
        }
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(io::Error::other("it is larger than 4 MiB; is it the right file?"));
        }
        Ok(bytes)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// For people.
    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What is wrong with it, for people.
    pub(super) fn wrong(&self, what: &str) -> String {
        format!("{} = {}: {what}", self.setting, self.name())
    }

    /// The certificates in it, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, String> {
        self.all("certificate", "CERTIFICATE")
    }

    /// The lists of revoked certificates in it, at least one.
    pub(super) fn revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
        self.all("list of revoked certificates", "X509 CRL")
    }

    fn all<T: PemObject>(&self, what: &str, label: &str) -> Result<Vec<T>, String> {
        let all: Result<Vec<T>, _> = T::pem_slice_iter(&self.bytes).collect();
        let all = all.map_err(|error| self.wrong(&format!("it is no PEM file: {error}")))?;
        if all.is_empty() {
            return Err(self.wrong(&format!("it holds no {what} (PEM, BEGIN {label})")));
        }
        Ok(all)
    }
}

impl std::ops::Deref for Private {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Private {
    /// The private key in it.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, String> {
        PrivateKeyDer::from_pem_slice(&self.bytes).map_err(|error| {
            let is_locked = self.bytes.windows(9).any(|part| part == b"ENCRYPTED");
            self.wrong(&match error {
                pem::Error::NoItemsFound if is_locked => {
                    let path = self.path.display();
                    format!(
                        "it needs a passphrase, which nobody could give: openssl pkey -in {path}"
                    )
                }
                pem::Error::NoItemsFound => {
                    "it holds no private key (PEM, BEGIN PRIVATE KEY)".to_owned()
                }
                error => format!("it is no PEM file: {error}"),
            })
        })
    }
}
