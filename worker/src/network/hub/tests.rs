//! The hub on a network that only remembers.

use super::*;
use crate::name::container_of;
use crate::testing::network::{NET, Sketch, at, attachment, node, task};
use crate::testing::overlay::{FakeOverlay, hub};
use crate::testing::{assigned, linked};
use shoal_core::model::Slot;
use std::net::IpAddr;

fn sketch() -> Sketch {
    let mut sketch = Sketch::new();
    sketch.service(1, "web", &[NET], &[]);
    sketch.endpoint(1, 1, Slot::Replica(1), node(1), false);
    sketch
}

/// Who gets new connections by the tables given last.
fn backends(fake: &FakeOverlay) -> Vec<IpAddr> {
    let seen = fake.seen();
    let groups = seen.tables.last().unwrap().groups.values();
    groups.flat_map(|group| group.backends.iter().copied()).collect()
}

#[tokio::test]
async fn changes_are_in_force_when_they_return_and_no_change_costs_nothing() {
    let fake = Arc::new(FakeOverlay::default());
    let mut sketch = sketch();
    let hub = hub(&fake, &sketch.tables()).await;
    let diff = sketch.change(|sketch| sketch.endpoint(2, 1, Slot::Replica(2), node(2), false));
    hub.update(at(2), &hub.change(diff, false)).await;
    assert_eq!(backends(&fake).len(), 4);
    hub.update(at(3), &TablesDiff::default()).await;
    let full = crate::network::whole(&sketch.tables());
    hub.update(at(4), &hub.change(full, true)).await;
    assert_eq!(fake.seen().tables.len(), 2, "at the start and once more");
}

#[tokio::test]
async fn an_ended_container_leaves_at_once_and_stays_away() {
    let fake = Arc::new(FakeOverlay::default());
    let mut sketch = sketch();
    let hub = hub(&fake, &sketch.tables()).await;
    let container = container_of(&task(1), 0).unwrap();
    let attached = hub
        .attach(&linked(1), &container, PathBuf::from("/proc/7/ns/net"))
        .await;
    assert_eq!(attached, Ok(()));
    let id: EndpointId = container.as_str().parse().unwrap();
    let endpoint = fake.seen().endpoints.get(&id).cloned().unwrap();
    assert_eq!(endpoint.namespace, PathBuf::from("/proc/7/ns/net"));
    let given: Vec<IpAddr> = endpoint.attachments[0].addresses.iter().collect();
    assert_eq!(given, attachment(NET, 1).addresses.iter().collect::<Vec<_>>());
    hub.detach(&task(1), &container).await;
    assert!(backends(&fake).is_empty() && fake.seen().endpoints.is_empty());
    let late = sketch.change(|sketch| sketch.endpoint(2, 1, Slot::Replica(2), node(2), false));
    hub.update(at(2), &late).await;
    assert_eq!(backends(&fake).len(), 2);
    // A stop that comes late does not bring it back as one that drains.
    hub.withdraw(&[task(1)]).await;
    assert_eq!(backends(&fake).len(), 2);
    hub.restore(&task(1)).await;
    assert_eq!(backends(&fake).len(), 4);
}

#[tokio::test]
async fn a_network_that_does_not_answer_holds_nobody_up_for_long() {
    let fake = Arc::new(FakeOverlay::default());
    let sketch = sketch();
    let hub = hub(&fake, &sketch.tables()).await;
    fake.seen().stuck = true;
    let began = std::time::Instant::now();
    let second = task(2);
    let (first, second) = ([task(1)], [second]);
    tokio::join!(hub.withdraw(&first), hub.withdraw(&second));
    assert!(began.elapsed() < APPLY_LIMIT * 2, "one after the other");
}

#[tokio::test]
async fn what_cannot_be_attached_says_whose_fault_it_is() {
    let fake = Arc::new(FakeOverlay::default());
    let hub = hub(&fake, &NetworkTables::default()).await;
    let container = container_of(&task(1), 0).unwrap();
    let attach = async |task: AssignedTask| {
        let namespace = PathBuf::from("/proc/7/ns/net");
        hub.attach(&task, &container, namespace).await
    };
    fake.seen().unready = 1;
    let unready = attach(linked(1)).await;
    assert!(
        matches!(&unready, Err(AttachFailure::NotReady(why)) if why.contains("shoal-net is being started"))
    );
    assert_eq!(attach(linked(1)).await, Ok(()));
    let refused = attach(assigned(1)).await;
    assert!(
        matches!(&refused, Err(AttachFailure::Refused(failure)) if failure.message.contains("no address"))
    );
}
