//! Handshakes in memory between every pairing that matters, and the words of certificates and tokens.
//!
//! No socket is opened; time is the real clock's only where TLS itself reads it.

use super::*;
use rustls::pki_types::ServerName;
use shoal_core::model::{ClusterId, IdGen, NodeId, Role, WallTime};
use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    WallTime(i64::try_from(since.as_nanos()).unwrap())
}

struct Cluster {
    id: ClusterId,
    root: Root,
    ids: IdGen,
}

impl Cluster {
    fn new(seed: u64) -> Self {
        let mut ids = IdGen::from_number(seed);
        let id = ClusterId::mint(&mut ids);
        let root = Root::generate(&id, now()).unwrap();
        Self { id, root, ids }
    }

    fn credentials(&self, identity: &Identity, at: WallTime) -> Credentials {
        let key = NewKey::generate().unwrap();
        let certificate = self.root.issue(&key.csr_pem, identity, at, LEAF_LIFE).unwrap();
        key.certified(certificate, self.root.certificate_pem().to_owned())
    }

    fn node(&mut self, role: Role) -> Identity {
        Identity::node(self.id.clone(), NodeId::mint(&mut self.ids), role)
    }

    fn live(&mut self, role: Role, at: WallTime) -> Arc<LiveCredentials> {
        let identity = self.node(role);
        LiveCredentials::new(&self.credentials(&identity, at)).unwrap()
    }
}

/// Runs a handshake in memory; what the server learned of the client, or why either gave up.
fn handshake(
    server: Arc<rustls::ServerConfig>,
    client: Arc<rustls::ClientConfig>,
    name: ServerName<'static>,
) -> Result<Option<Identity>, rustls::Error> {
    let mut server = rustls::ServerConnection::new(server).unwrap();
    let mut client = rustls::ClientConnection::new(client, name).unwrap();
    for _ in 0..10 {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        let mut wire = Vec::new();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
        if !server.is_handshaking() && !client.is_handshaking() {
            let shown = server.peer_certificates().map(|chain| chain[0].clone());
            return Ok(shown.map(|der| Identity::from_der(&der).unwrap()));
        }
    }
    panic!("the handshake did not end");
}

#[test]
fn certificates_say_who_their_holder_is() {
    let mut cluster = Cluster::new(1);
    let admin = Identity::admin(cluster.id.clone(), "ann smith\n@laptop");
    for identity in [
        cluster.node(Role::Worker),
        cluster.node(Role::Manager),
        admin.clone(),
    ] {
        let credentials = cluster.credentials(&identity, now());
        assert_eq!(credentials.identity().unwrap(), identity);
    }
    assert_eq!(
        admin.party,
        Party::Admin {
            name: "annsmith@laptop".to_owned()
        }
    );
    let root = Identity::from_pem(cluster.root.certificate_pem()).unwrap_err();
    assert!(matches!(root, IdentityError::Foreign { .. }), "{root}");
    assert!(matches!(
        Identity::from_pem("x").unwrap_err(),
        IdentityError::NotPem { .. }
    ));
}

#[test]
fn each_role_is_seen_and_only_members_get_through() {
    let mut cluster = Cluster::new(2);
    let server = server_config(&cluster.live(Role::Manager, now())).unwrap();
    let name = server_name_of(&cluster.id);
    for role in [Role::Worker, Role::Manager] {
        let identity = cluster.node(role);
        let live = LiveCredentials::new(&cluster.credentials(&identity, now())).unwrap();
        let seen = handshake(server.clone(), client_config(&live).unwrap(), name.clone());
        assert_eq!(seen.unwrap(), Some(identity));
    }
    let long_ago = WallTime(now().0 - i64::try_from(2 * LEAF_LIFE.as_nanos()).unwrap());
    let expired = client_config(&cluster.live(Role::Worker, long_ago)).unwrap();
    let error = handshake(server.clone(), expired, name.clone()).unwrap_err();
    assert!(error.to_string().to_lowercase().contains("expired"), "{error}");

    let foreign = Credentials {
        root_pem: cluster.root.certificate_pem().to_owned(),
        ..{
            let mut other = Cluster::new(3);
            let identity = other.node(Role::Manager);
            other.credentials(&identity, now())
        }
    };
    let foreign = client_config(&LiveCredentials::new(&foreign).unwrap()).unwrap();
    assert!(handshake(server, foreign, name).is_err());
}

#[test]
fn clients_take_only_managers_of_their_cluster() {
    let mut ours = Cluster::new(4);
    let mut other = Cluster::new(5);
    let client = client_config(&ours.live(Role::Worker, now())).unwrap();
    let name = server_name_of(&ours.id);
    let foreign_root = server_config(&other.live(Role::Manager, now())).unwrap();
    let not_a_manager = server_config(&ours.live(Role::Worker, now())).unwrap();
    // Signed by our root, and yet it names another cluster.
    let wrong_cluster = Identity::node(other.id.clone(), NodeId::mint(&mut other.ids), Role::Manager);
    let wrong_cluster = LiveCredentials::new(&ours.credentials(&wrong_cluster, now())).unwrap();
    let wrong_cluster = server_config(&wrong_cluster).unwrap();
    let long_ago = WallTime(now().0 - i64::try_from(2 * LEAF_LIFE.as_nanos()).unwrap());
    let expired = server_config(&ours.live(Role::Manager, long_ago)).unwrap();
    for (what, server) in [
        ("foreign root", foreign_root),
        ("worker", not_a_manager),
        ("wrong cluster", wrong_cluster),
        ("expired", expired),
    ] {
        let result = handshake(server, client.clone(), name.clone());
        assert!(
            matches!(result, Err(rustls::Error::InvalidCertificate(_))),
            "{what}: {result:?}"
        );
    }
}

#[test]
fn a_joining_machine_believes_only_the_pinned_root() {
    let mut ours = Cluster::new(6);
    let mut other = Cluster::new(7);
    let token = JoinToken::new(ours.root.certificate_pem(), &new_secret(&mut ours.ids)).unwrap();
    let token: JoinToken = token.to_string().parse().unwrap();
    let (client, name) = joining_config(token.root_digest()).unwrap();
    let server = server_config(&ours.live(Role::Manager, now())).unwrap();
    assert_eq!(handshake(server, client.clone(), name.clone()).unwrap(), None);
    let worker = server_config(&ours.live(Role::Worker, now())).unwrap();
    assert!(
        handshake(worker, client.clone(), name.clone()).is_err(),
        "a worker passes for a manager"
    );
    let foreign = server_config(&other.live(Role::Manager, now())).unwrap();
    assert!(handshake(foreign, client.clone(), name.clone()).is_err());
    // The right root in the chain does not help one that it did not sign.
    let identity = other.node(Role::Manager);
    let liar = Credentials {
        root_pem: ours.root.certificate_pem().to_owned(),
        ..other.credentials(&identity, now())
    };
    let liar = server_config(&LiveCredentials::new(&liar).unwrap()).unwrap();
    assert!(handshake(liar, client, name).is_err());
}

#[test]
fn renewal_falls_between_half_and_four_fifths() {
    let cluster = Cluster::new(8);
    let identity = Identity::admin(cluster.id.clone(), "ann");
    let validity = cluster.credentials(&identity, now()).validity().unwrap();
    let days = |n: u64| i64::try_from(Duration::from_secs(n * 24 * 3600).as_nanos()).unwrap();
    let offset = |random| renewal_time(validity, random).0 - validity.not_before.0;
    assert_eq!(offset(0), days(45));
    assert_eq!(offset(u64::MAX), days(72));
    assert!((days(58)..days(59)).contains(&offset(u64::MAX / 2)));
}

#[test]
fn a_renewed_certificate_serves_the_next_handshake() {
    let mut cluster = Cluster::new(9);
    let live = cluster.live(Role::Worker, now());
    let server = server_config(&cluster.live(Role::Manager, now())).unwrap();
    let client = client_config(&live).unwrap();
    let renewed = cluster.node(Role::Manager);
    live.replace(&cluster.credentials(&renewed, now())).unwrap();
    let seen = handshake(server, client, server_name_of(&cluster.id)).unwrap();
    assert_eq!(seen, Some(renewed));
}

#[test]
fn tokens_are_read_whole_or_not_at_all() {
    let mut cluster = Cluster::new(10);
    let secret = new_secret(&mut cluster.ids);
    let token = JoinToken::new(cluster.root.certificate_pem(), &secret).unwrap();
    let text = token.to_string();
    assert_eq!(text.parse::<JoinToken>().unwrap(), token);
    assert!(!format!("{token:?}").contains(&secret));
    for bad in [
        "",
        "SHOAL-1-",
        &text[..text.len() - 1],
        &text.replace("SHOAL-1", "SHOAL-2"),
        &format!("{text}x"),
    ] {
        assert_eq!(bad.parse::<JoinToken>(), Err(ParseTokenError), "{bad:?}");
    }
    assert!(same_secret(&secret, &secret));
    assert!(!same_secret(&secret, &secret[1..]));
    assert!(!same_secret("", ""));
}
