//! What the broker's settings and files make of TLS: who has to speak it, with which certificate,
//! and which clients are known by theirs.
//!
//! Owns the files and what is wrong with them. All of it is made anew when the configuration is
//! read again, or nothing is. Must not know sockets: `transport` speaks TLS.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::warn;
use ring::digest::{Context, SHA256};
use rustls::crypto::{CryptoProvider, ring as provider};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::files::{File, Private};
use super::transport::{Held, Offer, WORKSPACE_BYTES, Workspace};
use crate::config::{self, ClientCertificates, TlsMode};
use crate::engine::sessions::nats_requests::TlsInfo;
use crate::engine::sessions::protocol::Protocol;

pub(super) mod certificate;

/// A day.
const DAY: Duration = Duration::from_secs(86_400);
/// The log warns when so many days are left.
const WARN_AT: [i64; 3] = [1, 7, 30];

/// TLS as it is in force.
pub(super) struct Tls {
    server: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    mode: TlsMode,
    handshake_first: bool,
    verifies: bool,
    /// Of all that went into it.
    fingerprint: [u8; 32],
    /// When the first certificate of the chain ends, and which file it is in.
    expires: SystemTime,
    file: String,
    workspace: Workspace,
    held: Held,
}

/// Reads all files, and makes of them what is in force from now on; `None`: no TLS. What has not
/// changed since `before` is kept, so that its clients can resume their sessions.
///
/// # Errors
/// What is wrong with which file, and what to do about it.
pub(super) fn load(
    settings: &config::Tls,
    before: Option<&Rc<Tls>>,
) -> Result<Option<Rc<Tls>>, String> {
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        return Ok(None);
    };
    if settings.mode() == TlsMode::Off {
        return Ok(None);
    }
    let certificate = File::read("[tls] certificate", certificate)?;
    let key = File::read_private("[tls] key", key)?;
    let optional =
        |name, path: &Option<PathBuf>| path.as_ref().map(|it| File::read(name, it)).transpose();
    let roots = match settings.client_certificates {
        ClientCertificates::None => None,
        _ => optional("[tls] client_ca", &settings.client_ca)?,
    };
    let revoked = optional("[tls] client_crl", &settings.client_crl)?.filter(|_| roots.is_some());
    let fingerprint =
        fingerprint(settings, [Some(&certificate), Some(&key), roots.as_ref(), revoked.as_ref()]);
    if let Some(before) = before.filter(|before| before.fingerprint == fingerprint) {
        return Ok(Some(Rc::clone(before)));
    }
    let crypto = Arc::new(provider::default_provider());
    let verifier = match &roots {
        Some(roots) => Some(verifier(roots, revoked.as_ref(), settings, &crypto)?),
        None => None,
    };
    let chain = certificate.certificates()?;
    let expires = expiry(&certificate, &chain)?;
    let server = server(&certificate, chain, &key, verifier.clone(), crypto)?;
    Ok(Some(Rc::new(Tls {
        server: Arc::new(server),
        verifier,
        mode: settings.mode(),
        handshake_first: settings.nats_handshake_first,
        verifies: settings.client_certificates == ClientCertificates::Required,
        fingerprint,
        expires,
        file: certificate.name(),
        workspace: before.map_or_else(new_workspace, |before| Rc::clone(&before.workspace)),
        held: before.map(|before| before.held.clone()).unwrap_or_default(),
    })))
}

pub(super) fn new_workspace() -> Workspace {
    Rc::new(RefCell::new(vec![0; WORKSPACE_BYTES].into()))
}

/// Of all that makes a difference: while it stays, so does what is in force.
fn fingerprint(settings: &config::Tls, files: [Option<&File>; 4]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(format!("{settings:?}").as_bytes());
    for file in files.into_iter().flatten() {
        context.update(&file.bytes().len().to_be_bytes());
        context.update(file.bytes());
    }
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    fingerprint
}

fn server(
    certificate: &File,
    chain: Vec<CertificateDer<'static>>,
    key: &Private,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    crypto: Arc<CryptoProvider>,
) -> Result<ServerConfig, String> {
    let builder = ServerConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut server = builder.with_single_cert(chain, key.key()?).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key.wrong(&format!("it is not the key of {}", certificate.name()))
        }
        error => certificate.wrong(&format!("it cannot be used with its key: {error}")),
    })?;
    // Tickets hold sessions, so that a crowd that comes back costs no memory. Their keys change
    // with all of this: nobody resumes what would not be accepted any more.
    server.ticketer =
        provider::Ticketer::new().map_err(|error| format!("TLS cannot be used: {error}"))?;
    server.send_tls13_tickets = 1;
    Ok(server)
}

/// Checks certificates of clients.
fn verifier(
    roots: &File,
    revoked: Option<&File>,
    settings: &config::Tls,
    crypto: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut store = RootCertStore::empty();
    for root in roots.certificates()? {
        store.add(root).map_err(|error| roots.wrong(&format!("a root cannot be used: {error}")))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(store.into(), Arc::clone(crypto));
    let builder = match settings.client_certificates {
        ClientCertificates::Required => builder,
        _ => builder.allow_unauthenticated(),
    };
    let builder = match revoked {
        // Who has signed the client's own certificate has to have a list.
        Some(file) => builder.with_crls(file.revoked()?).only_check_end_entity_revocation(),
        None => builder,
    };
    builder
        .build()
        .map_err(|error| revoked.unwrap_or(roots).wrong(&format!("it cannot be used: {error}")))
}

/// When the first certificate of a chain ends.
fn expiry(file: &File, chain: &[CertificateDer<'_>]) -> Result<SystemTime, String> {
    let mut first: Option<SystemTime> = None;
    for (place, der) in chain.iter().enumerate() {
        let which = match place {
            0 => "it".to_owned(),
            place => format!("certificate {} in it", place + 1),
        };
        let ends = certificate::ends(der)
            .map_err(|error| file.wrong(&format!("{which} cannot be read: {error}")))?;
        if ends <= SystemTime::now() {
            let date = certificate::date(ends);
            return Err(file.wrong(&format!("{which} has expired on {date}: get a new one")));
        }
        first = Some(first.map_or(ends, |first| first.min(ends)));
    }
    first.ok_or_else(|| file.wrong("it holds no certificate"))
}

impl Tls {
    /// What a new connection over a port may speak.
    pub(super) fn offer(&self, protocol: Protocol) -> Offer {
        Offer {
            server: Arc::clone(&self.server),
            takes_plain: self.mode == TlsMode::Optional,
            greets_plain: protocol == Protocol::Nats && !self.handshake_first,
            workspace: Rc::clone(&self.workspace),
            held: self.held.clone(),
        }
    }

    /// Bytes that wait in all sessions.
    pub(super) fn held_bytes(&self) -> usize {
        self.held.bytes()
    }

    /// What NATS clients are told of it.
    pub(super) fn info(&self) -> TlsInfo {
        let required = self.mode == TlsMode::Required;
        TlsInfo { required, available: !required, verify: self.verifies }
    }

    /// Whether a client with this chain of certificates may go on.
    pub(super) fn accepts(&self, chain: &[CertificateDer<'_>]) -> bool {
        let (Some(verifier), Some((own, others))) = (&self.verifier, chain.split_first()) else {
            return chain.is_empty();
        };
        verifier.verify_client_cert(own, others, UnixTime::now()).is_ok()
    }

    /// Days until the first certificate of the chain ends; negative: since then.
    pub(super) fn days_left(&self) -> i64 {
        let whole = |time: Duration| (time.as_secs() / DAY.as_secs()) as i64;
        match self.expires.duration_since(SystemTime::now()) {
            Ok(left) => whole(left),
            Err(over) => -whole(over.duration()) - 1,
        }
    }

    /// Warns if the certificate ends soon: at once, and then when few days are left and fewer.
    pub(super) fn warn_of_expiry(&self, warned_at: &mut Option<i64>) {
        let days = self.days_left();
        let Some(step) = warning(days, *warned_at) else { return };
        *warned_at = Some(step);
        let (file, date) = (&self.file, certificate::date(self.expires));
        warn!(
            "the certificate {file} ends in {days} days, on {date}: get a new one, and send SIGHUP"
        );
    }
}

/// The step of warnings that so many days are, if it is nearer to the end than the last one.
fn warning(days: i64, warned_at: Option<i64>) -> Option<i64> {
    let step = WARN_AT.into_iter().find(|step| days <= *step)?;
    warned_at.is_none_or(|warned| step < warned).then_some(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_warned_of_at_the_start_and_then_when_it_comes_nearer() {
        assert_eq!(warning(31, None), None);
        assert_eq!(warning(29, None), Some(30));
        assert_eq!(warning(3, None), Some(7));
        let mut warned = None;
        let all: Vec<_> = (-3..=40)
            .rev()
            .filter(|days| {
                let step = warning(*days, warned);
                warned = step.or(warned);
                step.is_some()
            })
            .collect();
        assert_eq!(all, [30, 7, 1]);
    }
}
