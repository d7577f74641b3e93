//! The broker's rules, without a network.
//!
//! Both ends of each stream are played by the test.

use super::*;
use shoal_api::v1::{ExecStreamRequest, stream_request::Request};
use shoal_core::model::{IdGen, NodeId};
use std::time::Duration;

fn exec() -> Request {
    Request::Exec(ExecStreamRequest::default())
}

#[tokio::test]
async fn a_node_without_a_session_is_named_at_once() {
    let broker = Broker::new(IdGen::from_number(1));
    let node = NodeId::mint(&mut IdGen::from_number(2));
    let error = broker.open(&node, exec()).await.err();
    assert_eq!(error, Some(OpenError::NotConnected { node: node.clone() }));
    drop(broker.requests_for(&node));
    let error = broker.open(&node, exec()).await.err();
    assert_eq!(error, Some(OpenError::NotConnected { node }));
}

#[tokio::test]
async fn a_node_that_does_not_dial_back_is_not_waited_for_forever() {
    let patience = Duration::from_millis(10);
    let broker = Broker::with_patience(IdGen::from_number(1), patience);
    let node = NodeId::mint(&mut IdGen::from_number(2));
    let mut requests = broker.requests_for(&node);
    let error = broker.open(&node, exec()).await.err();
    assert_eq!(error, Some(OpenError::NoAnswer { node, patience }));
    let asked = requests.recv().await.unwrap();
    assert_eq!(asked.stream.len(), 25);
}

#[tokio::test]
async fn requests_beyond_the_bound_are_refused() {
    let broker = Broker::new(IdGen::from_number(1));
    let node = NodeId::mint(&mut IdGen::from_number(2));
    let _requests = broker.requests_for(&node);
    let mut waiting: Vec<_> = (0..256).map(|_| Box::pin(broker.open(&node, exec()))).collect();
    for open in &mut waiting {
        assert!(futures::poll!(open).is_pending());
    }
    let error = broker.open(&node, exec()).await.err();
    assert_eq!(error, Some(OpenError::Busy { node: node.clone() }));
}

#[tokio::test]
async fn who_goes_away_while_waiting_leaves_nothing() {
    let broker = Broker::new(IdGen::from_number(1));
    let node = NodeId::mint(&mut IdGen::from_number(2));
    let mut requests = broker.requests_for(&node);
    let mut open = Box::pin(broker.open(&node, exec()));
    assert!(futures::poll!(&mut open).is_pending());
    let stream = requests.recv().await.unwrap().stream;
    assert!(broker.is_waited_for(&stream));
    drop(open);
    assert!(!broker.is_waited_for(&stream));
}
