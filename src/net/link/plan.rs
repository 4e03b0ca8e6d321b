//! What the settings and files of the link come to: whom to dial, and how.
//!
//! Owns what all attempts have in common. It is made anew when the configuration is read again.
//! Must not dial.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use rustls::crypto::ring as provider;
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use rustls_pki_types::ServerName;
use wire::leaf::connect::{Connect, PROTOCOL};
use wire::leaf::info::HubInfo;
use wire::leaf::subject::LOOP_MARK_PREFIX;

use super::log_in::{Credentials, NoNonce};
use crate::config::{self, LinkTls};
use crate::net::files::File;
use crate::net::tls;
use crate::net::transport::{Transport, Workspace};

/// With it, a link that comes again under its name ends the one that the hub still has.
const REMOTE_ACCOUNT: &str = "BROKER";
/// The version of NATS whose leaf nodes speak as the broker does.
const VERSION: &str = "2.10.0";
/// Bytes of filters that the hub is told not to send. The broker takes none of them anyway.
const MAX_DENIED_BYTES: usize = 16 << 10;

/// What holds for all attempts.
pub(in crate::net) struct Plan {
    pub(super) settings: config::Link,
    /// How long an attempt may take.
    pub(super) hello: Duration,
    /// Bytes that the socket takes which cannot be sent yet.
    pub(super) unsent_bytes: usize,
    credentials: Credentials,
    /// Without one, there are no roots by which a hub could be believed.
    client: Option<Arc<ClientConfig>>,
    workspace: Workspace,
    /// Of the settings and of all that the files hold.
    fingerprint: [u8; 32],
}

/// Reads the files that the settings name; `None`: there is no link.
///
/// # Errors
/// What is wrong with which file, and what to do about it.
pub(in crate::net) fn load(config: &config::Config) -> Result<Option<Plan>, String> {
    let settings = &config.link;
    if !settings.is_on() {
        return Ok(None);
    }
    let mut context = Context::new(&SHA256);
    context.update(format!("{settings:?}").as_bytes());
    let mut keep = |bytes: &[u8]| {
        context.update(&bytes.len().to_be_bytes());
        context.update(bytes);
    };
    let credentials = Credentials::load(settings, &mut keep)?;
    let client = client(settings, &mut keep)?;
    let mut fingerprint = [0; 32];
    fingerprint.copy_from_slice(context.finish().as_ref());
    Ok(Some(Plan {
        settings: settings.clone(),
        hello: config.timeouts.hello,
        unsent_bytes: config.network.unsent_bytes,
        credentials,
        client,
        workspace: tls::new_workspace(),
        fingerprint,
    }))
}

/// How TLS is spoken. `None`: it is not, or this machine trusts nobody.
fn client(
    settings: &config::Link,
    keep: &mut dyn FnMut(&[u8]),
) -> Result<Option<Arc<ClientConfig>>, String> {
    if settings.tls == LinkTls::No {
        return Ok(None);
    }
    let mut read = |setting: &'static str, path: &Path| {
        let file = File::read(setting, path)?;
        keep(file.bytes());
        Ok::<_, String>(file)
    };
    let mut roots = RootCertStore::empty();
    match &settings.ca {
        Some(path) => {
            let file = read("[link] ca", path)?;
            for root in file.certificates()? {
                let wrong = |error| file.wrong(&format!("a root cannot be used: {error}"));
                roots.add(root).map_err(wrong)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() && (settings.tls == LinkTls::Yes || settings.tls_first) {
                return Err(format!("[link] ca: {NO_ROOTS}"));
            }
            if roots.is_empty() {
                return Ok(None);
            }
        }
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&settings.certificate, &settings.key) else {
        return Ok(Some(Arc::new(builder.with_no_client_auth())));
    };
    let certificate = read("[link] certificate", certificate)?;
    let key = File::read_private("[link] key", key)?;
    keep(key.bytes());
    let client = builder.with_client_auth_cert(certificate.certificates()?, key.key()?);
    client.map(|client| Some(Arc::new(client))).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key.wrong(&format!("it is not the key of {}", certificate.name()))
        }
        error => certificate.wrong(&format!("it cannot be used with its key: {error}")),
    })
}

/// Why nobody can be believed.
pub(super) const NO_ROOTS: &str = "this machine has no list of roots to trust: name the file of \
                                   the roots of the hub's certificate";

/// Why TLS cannot begin.
pub(super) enum NoTls {
    /// There are no roots.
    Roots,
    /// The host is no name that a certificate can be for.
    Name,
    /// What rustls says.
    Session(std::io::Error),
}

impl Plan {
    /// Whether this and the other one say the same.
    pub(in crate::net) fn is(&self, other: &Plan) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// Begins TLS with a hub that has to have a certificate for `host`.
    pub(super) fn secure(&self, transport: &mut Transport, host: &str) -> Result<(), NoTls> {
        let client = self.client.as_ref().ok_or(NoTls::Roots)?;
        let name = ServerName::try_from(host.to_owned()).map_err(|_| NoTls::Name)?;
        transport.secure(client, name, &self.workspace).map_err(NoTls::Session)
    }

    /// The line by which the broker introduces itself to a hub, under a name. With `is_check`
    /// nothing that the hub has of this broker is to end for it.
    pub(super) fn connect(
        &self,
        name: &str,
        hub: &HubInfo,
        is_check: bool,
    ) -> Result<Vec<u8>, NoNonce> {
        let denied = self.denied();
        // Of one name, the hub would not pass on what another one has sent.
        let own = name.replace(char::is_whitespace, "-");
        let cluster = match &*self.settings.cluster {
            "" => &own,
            cluster => cluster,
        };
        self.credentials.show(hub.nonce.as_deref(), |log_in| {
            let connect = Connect {
                name,
                headers: true,
                cluster,
                remote_account: if is_check { "" } else { REMOTE_ACCOUNT },
                version: VERSION,
                protocol: PROTOCOL,
                log_in,
                deny_pub: &denied,
                isolate: false,
            };
            let mut line = Vec::new();
            connect.write(&mut line);
            line
        })
    }

    /// What the hub need not send though a wide filter asks for it, as far as it takes such a list.
    /// Marks of loops are not messages.
    fn denied(&self) -> Vec<&str> {
        let denied = self.settings.import.deny.iter();
        let texts = denied.filter_map(|filter| std::str::from_utf8(filter).ok());
        let of_messages = texts.filter(|filter| !filter.as_bytes().starts_with(LOOP_MARK_PREFIX));
        let mut bytes = 0;
        let fitting = of_messages.take_while(|filter| {
            bytes += filter.len() + 3;
            bytes <= MAX_DENIED_BYTES
        });
        fitting.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;

    fn plan(text: &str) -> Plan {
        let text = format!("[link]\nservers = hub\n{text}");
        load(&Config::parse(&text, "c.ini".as_ref()).unwrap()).unwrap().unwrap()
    }

    fn connect(plan: &Plan, is_check: bool) -> Value {
        let line = plan.connect("n", &HubInfo::default(), is_check).unwrap();
        serde_json::from_slice(line.strip_prefix(b"CONNECT ").unwrap()).unwrap()
    }

    #[test]
    fn without_servers_there_is_no_link() {
        assert!(load(&Config::default()).unwrap().is_none());
    }

    #[test]
    fn the_broker_says_what_it_is_and_what_it_does_not_want() {
        let plan = plan("tls = no\nimport = >, !$SYS.>, !$LDS.>, !x.*\ncluster = mesh\n");
        let mut expected = json!({
            "name": "n",
            "headers": true,
            "cluster": "mesh",
            "remote_account": "BROKER",
            "version": "2.10.0",
            "protocol": 1,
            "deny_pub": ["$SYS.>", "x.*"],
        });
        assert_eq!(connect(&plan, false), expected);
        expected.as_object_mut().unwrap().remove("remote_account");
        assert_eq!(connect(&plan, true), expected);
    }

    #[test]
    fn a_list_that_no_hub_would_take_is_cut() {
        let many = (0..1_000).map(|n| format!("!{n}.{}", "x".repeat(100))).collect::<Vec<_>>();
        let plan = plan(&format!("tls = no\nimport = >, {}\n", many.join(", ")));
        let line = plan.connect("n", &HubInfo::default(), false).unwrap();
        assert!((MAX_DENIED_BYTES - 200..MAX_DENIED_BYTES + 400).contains(&line.len()));
    }

    #[test]
    fn plans_are_the_same_as_long_as_nothing_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&file, mode).unwrap();
        };
        write("one");
        let text = format!("tls = no\nsecret_file = {}\n", file.display());
        let one = plan(&text);
        assert!(one.is(&plan(&text)));
        assert!(!one.is(&plan(&format!("{text}cluster = other\n"))));
        write("two");
        assert!(!one.is(&plan(&text)));
    }
}
