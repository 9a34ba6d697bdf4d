//! The authorities that a guest's requests trust: the authorities of its root filesystem, else those built in.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Where distributions keep their bundle, as Go's and OpenSSL's users know it.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The variable that names another one.
pub(crate) const SSL_CERT_FILE: &str = "SSL_CERT_FILE";

/// The authorities of `file`, or else of the first bundle that there is. A file that is named and
/// holds none means that no server is trusted.
pub(crate) fn find(file: Option<&Path>) -> RootCertStore {
    let named = file.map(|path| read(path).unwrap_or_else(RootCertStore::empty));
    named
        .or_else(|| BUNDLES.iter().find_map(|path| read(&PathBuf::from(path))))
        .unwrap_or_else(|| RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        })
}

/// The authorities in a file of PEM; `None` if there are none.
fn read(path: &Path) -> Option<RootCertStore> {
    let mut store = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).ok()?;
    store.add_parsable_certificates(certificates.flatten());
    (!store.is_empty()).then_some(store)
}

#[cfg(test)]
mod tests {
    use super::{find, read};
    use std::path::Path;

    #[test]
    fn without_a_bundle_the_built_in_authorities_are_trusted() {
        assert!(read(Path::new("/nonexistent")).is_none());
        assert!(!find(None).is_empty());
    }

    #[test]
    fn a_named_file_without_authorities_trusts_nobody() {
        assert!(find(Some(Path::new("/dev/null"))).is_empty());
    }
}
