//! TLS: what a URL says of it, the same words for every broker; and what it means when a server is not trusted.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};

use convoke_core::{Error, ErrorKind};

use crate::UrlOptions;

/// TLS as a URL asks for it, with files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tls {
    /// `ca`: the certificates of the authorities that the server's certificate may be of.
    pub ca: Option<PathBuf>,
    /// `cert` and `key`: the client's own certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// How the URL asks for it.
    asked: &'static str,
}

/// What the files hold.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct TlsFiles {
    /// Those authorities.
    pub ca: Option<Vec<u8>>,
    /// The client's certificate, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// Without the key.
impl std::fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsFiles").field("ca", &self.ca.is_some()).field("identity", &self.identity.is_some()).finish()
    }
}

impl UrlOptions<'_> {
    /// TLS, if the URL asks for it: with `tls=yes`, or with this scheme where the broker has one for it. Its files are `ca`, `cert` and
    /// `key` everywhere.
    pub fn tls(&mut self, scheme: Option<&str>, asked: &'static str) -> Option<Tls> {
        let on = match scheme {
            Some(scheme) => self.scheme() == scheme,
            None => self.flag("tls").unwrap_or(false),
        };
        let [ca, cert, key] = ["ca", "cert", "key"].map(|name| self.text(name).map(PathBuf::from));
        if !on && [&ca, &cert, &key].iter().any(|file| file.is_some()) {
            self.problem(format!("`ca`, `cert` and `key` mean nothing without TLS: write {asked}"));
        }
        if cert.is_some() != key.is_some() {
            self.problem("a client's certificate has a key: say both `cert` and `key`");
        }
        on.then(|| Tls { ca, identity: cert.zip(key), asked })
    }
}

impl Tls {
    /// TLS with nothing but the authorities that everybody trusts, which is asked for like this: "`rediss://`".
    #[must_use]
    pub const fn new(asked: &'static str) -> Self {
        Self { ca: None, identity: None, asked }
    }

    /// What may be wrong where a server hangs up, or says nothing.
    #[must_use]
    pub fn perhaps(&self) -> String {
        let certificate = match self.identity {
            Some(_) => "does not accept the certificate that `cert` names",
            None => "lets in only clients with a certificate: `cert=…&key=…`",
        };
        format!("perhaps it speaks no TLS, which {} asks for, or {certificate}", self.asked)
    }

    /// Reads the files.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if one cannot be read, or is no PEM of what it is to be: with the option that names it.
    pub fn read(&self) -> Result<TlsFiles, Error> {
        let ca = self.ca.as_deref().map(|file| read("ca", file, "CERTIFICATE")).transpose()?;
        let identity = match &self.identity {
            Some((cert, key)) => Some((read("cert", cert, "CERTIFICATE")?, read("key", key, "PRIVATE KEY")?)),
            None => None,
        };
        Ok(TlsFiles { ca, identity })
    }

    /// What it means that there is no connection to `server` (`Redis at localhost:6379`), by the words of the TLS library below. `None` if
    /// they say nothing of TLS.
    #[must_use]
    pub fn refused(&self, server: &str, cause: &(dyn StdError + 'static)) -> Option<Error> {
        let causes = std::iter::successors(Some(cause), |cause: &&'_ (dyn StdError + 'static)| (*cause).source());
        let words = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
        let (kind, text) = if says(&OTHER_NAME) {
            (
                ErrorKind::Configuration,
                "shows a certificate for another name; write the server's name in the URL as its certificate has it".to_owned(),
            )
        } else if says(&EXPIRED) {
            (
                ErrorKind::Configuration,
                "shows a certificate whose time is over, or has not begun; renew it there, or set the clock".to_owned(),
            )
        } else if says(&UNTRUSTED) {
            let whom = if self.ca.is_some() {
                "whose authority is not in the file that `ca` names"
            } else {
                "of an authority that nobody here knows"
            };
            let text = format!(
                "shows a certificate {whom}; name the file with that authority's certificate, in PEM: `ca=/path/to/ca.pem`"
            );
            (ErrorKind::Configuration, text)
        } else if says(&UNKNOWN_CLIENT) {
            let text = match self.identity {
                Some(_) => "does not accept the certificate that `cert` names; name one that it trusts",
                None => "lets in only clients with a certificate; name its file and that of its key, in PEM: `cert=…&key=…`",
            };
            (ErrorKind::Unauthorized, text.to_owned())
        } else if says(&NO_TLS) {
            (ErrorKind::Configuration, format!("does not speak TLS; correct the port, or do not ask for it with {}", self.asked))
        } else {
            return None;
        };
        Some(Error::new(kind, format!("{server} {text}")))
    }
}

// The words of rustls first, then those of OpenSSL.
const OTHER_NAME: [&str; 3] = ["NotValidForName", "not valid for name", "hostname mismatch"];
const EXPIRED: [&str; 5] = ["certificate expired", "Expired", "NotValidYet", "not valid yet", "certificate has expired"];
const UNTRUSTED: [&str; 4] = ["UnknownIssuer", "BadSignature", "invalid peer certificate", "certificate verify failed"];
const UNKNOWN_CLIENT: [&str; 5] = [
    "received fatal alert",
    "alert certificate required",
    "alert bad certificate",
    "alert handshake failure",
    "alert unknown ca",
];
const NO_TLS: [&str; 3] = ["InvalidContentType", "corrupt message", "wrong version number"];

fn read(option: &str, file: &Path, what: &str) -> Result<Vec<u8>, Error> {
    let name = file.display();
    let wrong =
        |why: &str| Error::new(ErrorKind::Configuration, format!("the file `{name}`, which `{option}` names in the URL, {why}"));
    let bytes = std::fs::read(file).map_err(|error| wrong("cannot be read").with_source(error))?;
    let text = String::from_utf8_lossy(&bytes);
    let is_one = text.lines().any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(&format!("{what}-----")));
    if is_one { Ok(bytes) } else { Err(wrong(&format!("is not PEM: it has no line `-----BEGIN {what}-----`"))) }
}

#[cfg(test)]
mod tests {
    use convoke_core::broker::BrokerUrl;

    use super::*;

    fn tls(url: &str, scheme: Option<&str>) -> Result<Option<Tls>, Error> {
        let url = BrokerUrl::parse(url).unwrap();
        let mut options = UrlOptions::new("Redis", &url);
        let tls = options.tls(scheme, "`rediss://`");
        options.finish().map(|()| tls)
    }

    #[test]
    fn tls_is_asked_for_by_a_scheme_or_an_option() {
        assert_eq!(tls("redis://a", Some("rediss")).unwrap(), None);
        assert_eq!(tls("nats://a?tls=no", None).unwrap(), None);
        let said = tls("rediss://a?ca=%2Fa%20b.pem&cert=c&key=k", Some("rediss")).unwrap().unwrap();
        assert_eq!((said.ca, said.identity), (Some("/a b.pem".into()), Some(("c".into(), "k".into()))));
        assert_eq!(tls("nats://a?tls=yes", None).unwrap().unwrap().ca, None);
        for (url, says) in [("redis://a?ca=x", "write `rediss://`"), ("rediss://a?cert=x", "both `cert` and `key`")] {
            assert!(tls(url, Some("rediss")).unwrap_err().to_string().contains(says), "{url}");
        }
    }

    #[test]
    fn a_file_that_will_not_do_is_named_with_its_option() {
        let folder = std::env::temp_dir();
        for (file, why) in
            [(folder.join("convoke-no-such-file"), "cannot be read"), (std::env::current_exe().unwrap(), "is not PEM")]
        {
            let tls = Tls { ca: Some(file.clone()), identity: None, asked: "" };
            let error = tls.read().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            let text = format!("the file `{}`, which `ca` names in the URL, {why}", file.display());
            assert!(error.to_string().starts_with(&text), "{error}");
        }
    }

    #[test]
    fn why_there_is_no_connection_is_said_with_what_to_do() {
        let tls = |ca: bool| Tls { ca: ca.then(|| "x".into()), identity: None, asked: "`tls=yes`" };
        for (words, ca, says) in [
            ("invalid peer certificate: UnknownIssuer", false, "of an authority that nobody here knows; name the file"),
            ("invalid peer certificate: UnknownIssuer", true, "whose authority is not in the file that `ca` names"),
            ("certificate verify failed: self-signed certificate", false, "`ca=/path/to/ca.pem`"),
            ("invalid peer certificate: certificate not valid for name \"b\"", false, "for another name"),
            ("certificate verify failed: hostname mismatch", false, "for another name"),
            ("invalid peer certificate: certificate expired: verification time 1", false, "whose time is over"),
            ("received fatal alert: CertificateRequired", false, "`cert=…&key=…`"),
            ("received corrupt message of type InvalidContentType", false, "do not ask for it with `tls=yes`"),
        ] {
            let error = tls(ca).refused("Redis at a:1", &*convoke_core::BoxError::from(words)).unwrap();
            assert!(error.to_string().starts_with("Redis at a:1 ") && error.to_string().contains(says), "{words}: {error}");
            assert!(!error.is_retryable());
        }
        assert!(tls(true).refused("Redis at a:1", &std::io::Error::from(std::io::ErrorKind::ConnectionReset)).is_none());
    }
}
