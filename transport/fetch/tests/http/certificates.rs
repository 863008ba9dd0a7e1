//! Certificates for tests, made by OpenSSL.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder of certificates: `NAME.pem` and `NAME.key`.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    /// Two authorities, `ca` and `stranger`; `server` for 127.0.0.1 and localhost, `wrong` for
    /// another name, `old` that has expired, and `client`, all by `ca`.
    pub fn make(folder: &Path) -> Self {
        let all = Self { folder: folder.to_owned() };
        for ca in ["ca", "stranger"] {
            all.request(ca, &["-addext", "basicConstraints=critical,CA:true", "-days", "2"]);
        }
        let here = "subjectAltName=IP:127.0.0.1,DNS:localhost";
        for (name, names) in [
            ("server", here),
            ("wrong", "subjectAltName=DNS:other.example"),
            ("client", "subjectAltName=DNS:device"),
        ] {
            let (ca, key) = (all.path("ca.pem"), all.path("ca.key"));
            let signed = ["-CA", &ca, "-CAkey", &key, "-addext", names, "-days", "2"];
            all.request(name, &[&signed[..], &["-addext", "basicConstraints=CA:false"]].concat());
        }
        all.expired(here);
        all
    }

    /// Only OpenSSL's small authority signs for days that are over.
    fn expired(&self, names: &str) {
        let path = |file: &str| self.path(file);
        let settings = format!(
            "[ca]\ndefault_ca=x\n[x]\ndatabase={}\nnew_certs_dir={}\nrand_serial=yes\n\
             default_md=sha256\npolicy=y\nx509_extensions=z\n\
             [y]\ncommonName=supplied\n[z]\n{names}\n",
            path("index"),
            path(""),
        );
        std::fs::write(path("index"), "").unwrap();
        std::fs::write(path("settings"), settings).unwrap();
        let (request, key, pem) = (path("old.csr"), path("old.key"), path("old.pem"));
        run(Command::new("openssl")
            .args(["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"])
            .args(["-subj", "/CN=old", "-config", "/dev/null", "-out", &request, "-keyout", &key]));
        run(Command::new("openssl")
            .args(["ca", "-batch", "-notext", "-config", &path("settings"), "-in", &request])
            .args(["-cert", &path("ca.pem"), "-keyfile", &path("ca.key"), "-out", &pem])
            .args(["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"]));
    }

    pub fn path(&self, file: &str) -> String {
        self.folder.join(file).display().to_string()
    }

    fn request(&self, name: &str, options: &[&str]) {
        let (pem, key) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        openssl.args(["-noenc", "-subj", &format!("/CN={name}"), "-out", &pem, "-keyout", &key]);
        // Without the settings of this system, which add extensions of their own.
        openssl.args(["-config", "/dev/null"]).args(options);
        run(&mut openssl);
    }
}

fn run(openssl: &mut Command) {
    let output = openssl.output().expect("openssl is needed: see `cargo xtask setup`");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
