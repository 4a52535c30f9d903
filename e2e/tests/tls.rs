//! TLS to MySQL with the certificate checked: each refusal is explained.

use std::{path::Path, process::Command};

use anyhow::{Result, ensure};
use e2e::{
    programs::{REFUSED, Site},
    running::Source,
    servers::Mysql,
};

const SCHEMA: &str = "tls";

/// Makes an authority, and a certificate of the server that it signed for these names.
fn make_certificate(folder: &Path, names: &str) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("names"), format!("subjectAltName = {names}\n"))?;
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for arguments in [
        format!("req -x509 {key} -days 30 -subj /CN=authority -keyout ca.key -out ca.pem"),
        format!("req {key} -subj /CN=server -keyout server.key -out server.csr"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 \
         -extfile names -out server.pem"
            .to_owned(),
    ] {
        let words = arguments.split_whitespace();
        let output = Command::new("openssl").args(words).current_dir(folder).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// A server with a certificate for these names, and a second authority that did not sign it.
async fn start(test: &str, names: &str) -> Result<Source> {
    let site = Site::new(test)?;
    make_certificate(&site.path("own"), names)?;
    make_certificate(&site.path("other"), names)?;
    let options = [("ca", "ca.pem"), ("cert", "server.pem"), ("key", "server.key")]
        .map(|(option, file)| format!("--ssl-{option}={}", site.path("own").join(file).display()));
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mysql = Mysql::start_with("9.7", &site.path("mysql"), &options).await?;
    let source = Source { site, mysql, kafka: None };
    source.execute(&["CREATE DATABASE tls", "CREATE TABLE tls.t (id INT PRIMARY KEY)"]).await?;
    Ok(source)
}

/// The certificate is checked against this authority.
fn trust(source: &Source, authority: &str) -> Result<()> {
    let path = source.site.path(authority).join("ca.pem");
    let more = format!("tls = \"verify\"\ncaFile = \"{}\"\n", path.display());
    source.site.configure_hosts(&[&source.mysql.address()], SCHEMA, &more)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_names_the_host_is_taken_of_its_authority_alone() -> Result<()> {
    let source = start("tls-own", "IP:127.0.0.1").await?;
    trust(&source, "other")?;
    let failed = format!("TLS with MySQL at {} failed", source.mysql.address());
    source.site.expect_refusal("another authority", &[&failed, "source.caFile"]).await?;
    trust(&source, "own")?;
    let dts = source.site.start_dts()?;
    source.execute(&["INSERT INTO tls.t VALUES (1)"]).await?;
    source.site.wait_for_exactly(1).await?;
    drop(dts);
    source.remove()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_host_is_refused() -> Result<()> {
    let source = start("tls-other", "DNS:db.example.com").await?;
    trust(&source, "own")?;
    let failed = format!("TLS with MySQL at {} failed", source.mysql.address());
    let parts = [&*failed, "db.example.com", "name the host as the certificate does"];
    source.site.expect_refusal("another host", &parts).await?;
    let (code, output) = source.site.run_dts(&["check"]).await?;
    println!("{output}");
    ensure!(code == Some(REFUSED), "{code:?} {output}");
    ensure!(parts.iter().all(|part| output.contains(part)), "{output}");
    // Where the name does not count, the authority does.
    source.site.amend("dts.toml", "tls = \"verify\"", "tls = \"verify-ca\"")?;
    let (code, output) = source.site.run_dts(&["check"]).await?;
    ensure!(code == Some(0), "{code:?} {output}");
    trust(&source, "other")?;
    source.site.amend("dts.toml", "tls = \"verify\"", "tls = \"verify-ca\"")?;
    source.site.expect_refusal("another authority", &[&failed]).await?;
    source.remove()
}
