//! Certificates as operators make them, by the program openssl; and that program as a client.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::TempDir;
use super::relay::Relay;

/// A directory with an authority and what it has signed.
pub(crate) struct Certificates {
    dir: TempDir,
}

impl Certificates {
    /// With the authority `ca`, and the certificate `broker` for localhost.
    pub(crate) fn new() -> Certificates {
        let certificates = Certificates { dir: TempDir::new() };
        certificates.authority("ca");
        certificates.signed("broker", "ca", "subjectAltName=DNS:localhost,IP:127.0.0.1", 90);
        certificates
    }

    /// An authority: `NAME.pem` and `NAME.key`.
    pub(crate) fn authority(&self, name: &str) {
        let subject = format!("/CN=authority {name}");
        self.openssl(
            &format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
                 -keyout {name}.key -out {name}.pem -subj"
            ),
            &[&subject],
        );
    }

    /// A certificate for so many days: `NAME.pem` and `NAME.key`.
    pub(crate) fn signed(&self, name: &str, authority: &str, extension: &str, days: i32) {
        let subject = format!("/CN=common name of {name}");
        self.openssl(
            &format!(
                "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key \
                 -out {name}.csr -subj"
            ),
            &[&subject],
        );
        self.dir.write("extension", extension);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {authority}.pem -CAkey {authority}.key -CAcreateserial \
             -days {days} -extfile extension -out {name}.pem"
        ), &[]);
        self.protect(name);
    }

    /// A certificate that nobody else has signed.
    pub(crate) fn self_signed(&self, name: &str) {
        self.authority(name);
        self.protect(name);
    }

    /// The list of what an authority has revoked, `NAME.crl`.
    pub(crate) fn revoke(&self, authority: &str, names: &[&str]) {
        self.dir.write("index.txt", "");
        self.dir.write("crlnumber", "01\n");
        self.dir.write(
            "ca.conf",
            &format!(
                "[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\ncrlnumber=crlnumber\n\
             default_md=sha256\ndefault_crl_days=30\ncertificate={authority}.pem\n\
             private_key={authority}.key\n"
            ),
        );
        for name in names {
            self.openssl(&format!("ca -config ca.conf -revoke {name}.pem"), &[]);
        }
        self.openssl(&format!("ca -config ca.conf -gencrl -out {authority}.crl"), &[]);
    }

    fn protect(&self, name: &str) {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.path(&format!("{name}.key")), mode).expect("it is ours");
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    /// The path of a file, as a setting has it.
    pub(crate) fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Puts a certificate and its key where another one was.
    pub(crate) fn replace(&self, name: &str, by: &str) {
        for ending in ["pem", "key"] {
            let from = self.path(&format!("{by}.{ending}"));
            std::fs::copy(from, self.path(&format!("{name}.{ending}"))).expect("it is there");
        }
    }

    fn openssl(&self, words: &str, rest: &[&str]) {
        let mut command = Command::new("openssl");
        command.current_dir(self.dir.path()).args(words.split_whitespace()).args(rest);
        let output = command.output().expect("there is a program openssl");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {words}: {said}");
    }

    /// The settings that a broker with such a certificate needs.
    pub(crate) fn settings(&self, name: &str) -> [(&'static str, String); 2] {
        let [certificate, key] =
            ["pem", "key"].map(|ending| self.text(&format!("{name}.{ending}")));
        [("tls.certificate", certificate), ("tls.key", key)]
    }

    /// A port that speaks TLS to an address, by `openssl s_client` with these arguments.
    pub(crate) fn client(&self, address: SocketAddr, arguments: &str) -> Relay {
        let arguments = arguments.to_owned();
        let dir = self.dir.path().to_owned();
        Relay::through(move || s_client(&dir, address, &format!("-quiet {arguments}")))
    }

    /// What `openssl s_client` says of an address, and whether it succeeded.
    pub(crate) fn look(&self, address: SocketAddr, arguments: &str) -> (bool, String) {
        let mut command = s_client(self.dir.path(), address, arguments);
        let output = command.stdin(Stdio::null()).output().expect("there is a program openssl");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

/// Fails unless the authority `ca` has signed the other side's certificate for localhost.
fn s_client(dir: &Path, address: SocketAddr, arguments: &str) -> Command {
    let mut command = Command::new("openssl");
    command.current_dir(dir).arg("s_client").arg("-connect").arg(address.to_string());
    command.args("-CAfile ca.pem -verify_return_error -verify_hostname localhost".split(' '));
    command.args(arguments.split_whitespace());
    command
}
