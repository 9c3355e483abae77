use super::*;
use inferq::broker::ConnectFault;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use std::path::{Path, PathBuf};

/// Files of an authority, and of whom it knows.
struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Its certificate is in `ca.pem`.
    fn new(folder: &Path) -> Authority {
        std::fs::create_dir_all(folder).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name = named("authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(folder.join("ca.pem"), certificate.pem()).unwrap();
        Authority {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for `name`, in `name.pem`, and its key in `name.key`.
    fn signs(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = named(name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let file = |ending: &str| self.file(&format!("{name}.{ending}"));
        std::fs::write(file("pem"), certificate.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Erlang takes a certificate whose issuer has its own name for one that signed itself.
fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

async fn refusal(config: &Config) -> String {
    let fault = Broker::connect_once(config).await.unwrap_err();
    assert!(matches!(fault, ConnectFault::Tls { .. }), "{fault}");
    fault.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_and_a_worker_that_show_each_other_certificates_work_over_tls_and_no_others() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(fresh("authority"));
    let authority = Authority::new(&folder);
    authority.signs("localhost");
    authority.signs("worker");
    let (node, port) = Node::encrypted(&folder, "localhost");
    let at = |host: &str, port: u16| Config {
        tls_ca_file: Some(authority.file("ca.pem")),
        tls_cert_file: Some(authority.file("worker.pem")),
        tls_key_file: Some(authority.file("worker.key")),
        ..config(&format!("amqps://guest:guest@{host}:{port}/%2f"))
    };

    Broker::connect_once(&at("localhost", port)).await.unwrap();
    let broker = Broker::start(at("localhost", port));
    let package = fresh("encrypted");
    broker.establish(&packages(&[&package])).await.unwrap();
    publish_all(&broker, &package, 200).await;
    let (_handle, mut deliveries) = consume(&broker, &names::queue_of(&package), 100);
    for _ in 0..200 {
        next(&mut deliveries).await.receipt.ack();
    }
    broker.close().await;

    let name = refusal(&at("127.0.0.1", port)).await;
    assert!(name.contains("broker.tls_server_name"), "{name}");
    let named = Config {
        tls_server_name: Some("localhost".into()),
        ..at("127.0.0.1", port)
    };
    Broker::connect_once(&named).await.unwrap();

    let other = Authority::new(&folder.join("other"));
    let stranger = Config {
        tls_ca_file: Some(other.file("ca.pem")),
        ..at("localhost", port)
    };
    let unknown = refusal(&stranger).await;
    assert!(unknown.contains("broker.tls_ca_file"), "{unknown}");
    let unnamed = Config {
        tls_cert_file: None,
        tls_key_file: None,
        ..at("localhost", port)
    };
    let unnamed = refusal(&unnamed).await;
    assert!(unnamed.contains("broker.tls_cert_file"), "{unnamed}");
    let plain = refusal(&at("localhost", node.port())).await;
    assert!(plain.contains("port for TLS"), "{plain}");

    // Certificates are read anew for each connection.
    let renewed = at("localhost", port);
    std::fs::write(renewed.tls_ca_file.as_ref().unwrap(), "").unwrap();
    let gone = refusal(&renewed).await;
    assert!(gone.contains("broker.tls_ca_file: found"), "{gone}");
    std::fs::remove_dir_all(folder).unwrap();
}
