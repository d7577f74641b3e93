//! The reading half of the control service: objects with the names and counts that users want beside.
//!
//! Every answer comes from one view of the store; lists go out in batches that are made as they are sent.

use super::network::{has_address, networks_of};
use super::{ControlService, refused};
use crate::services::public_cluster;
use shoal_api::{
    batch::{BatchItem, Batches},
    identity::JoinToken,
    v1,
};
use shoal_core::{
    dispatcher::Position,
    explain,
    model::{DesiredState, Node, NodeId, Resources, Service, Stack, Task, TaskState, Timestamp},
    resolve,
    store::StoreView,
};
use std::sync::Arc;
use tokio_stream::Stream;
use tonic::Status;

pub(super) fn service_summary(view: &StoreView, service: &Service) -> v1::ServiceSummary {
    let (running, desired) = explain::counts(view, service);
    let stack = service.stack.as_ref().and_then(|id| view.stack(id));
    v1::ServiceSummary {
        service: Some(service.clone().into()),
        running,
        desired,
        stack_name: stack.map(|stack| stack.spec.name.clone()).unwrap_or_default(),
    }
}

pub(super) fn stack_summary(view: &StoreView, stack: &Stack) -> v1::StackSummary {
    v1::StackSummary {
        id: stack.id.to_string(),
        name: stack.spec.name.clone(),
        services: u32::try_from(view.services_of_stack(&stack.id).count()).unwrap_or(u32::MAX),
        meta: Some(stack.meta.into()),
        revision: stack.revision,
        networks: u32::try_from(networks_of(view, &stack.id).count()).unwrap_or(u32::MAX),
    }
}

fn is_current(task: &Task) -> bool {
    task.desired <= DesiredState::Running || !task.status.state.is_terminal()
}

/// What summaries of tasks and nodes need beside the view.
pub(super) struct Summaries {
    now: Timestamp,
    leader: Option<u64>,
    own: NodeId,
}

impl Summaries {
    pub(super) fn task(&self, view: &StoreView, task: &Task) -> v1::TaskSummary {
        let revision = view.revision(&task.revision_key());
        let service = view.service(&task.service);
        v1::TaskSummary {
            task: Some(task.clone().into()),
            service_name: service
                .map(|service| service.spec.name.clone())
                .unwrap_or_default(),
            node_name: task
                .node
                .as_ref()
                .map(|id| node_name(view, id))
                .unwrap_or_default(),
            image: revision
                .map(|it| it.task.container.image.clone())
                .unwrap_or_default(),
            ports: revision
                .map(|it| it.ports.iter().cloned().map(Into::into).collect())
                .unwrap_or_default(),
            now: self.now.0,
        }
    }

    pub(super) fn node(&self, view: &StoreView, node: &Node) -> v1::NodeSummary {
        let mut reserved = Resources::default();
        let mut running_tasks = 0;
        for task in view.tasks_on_node(&node.id).filter(|task| is_current(task)) {
            running_tasks += u32::from(task.status.state == TaskState::Running);
            if let Some(revision) = view.revision(&task.revision_key()) {
                reserved.cpu.0 = reserved.cpu.0.saturating_add(revision.task.reservations.cpu.0);
                reserved.memory.0 = reserved
                    .memory
                    .0
                    .saturating_add(revision.task.reservations.memory.0);
            }
        }
        v1::NodeSummary {
            node: Some(node.clone().into()),
            leader: node
                .manager
                .as_ref()
                .is_some_and(|m| Some(m.raft_id) == self.leader),
            self_: node.id == self.own,
            running_tasks,
            reserved: Some(reserved.into()),
        }
    }
}

impl ControlService {
    pub(super) fn summaries(&self) -> Summaries {
        Summaries {
            now: self.handle.now(),
            leader: self.handle.leader().borrow().leader,
            own: self.facts.node.clone(),
        }
    }

    /// The answering node itself is `self`.
    pub(super) fn node_reference(&self, reference: &str) -> String {
        if reference == "self" {
            self.facts.node.to_string()
        } else {
            reference.to_owned()
        }
    }

    pub(super) fn why(&self, reference: &str) -> Result<v1::ServiceWhyResponse, Status> {
        let view = self.handle.view();
        let service = resolve::service(&view, reference).map_err(refused)?;
        let why = explain::service(&view, service, self.handle.now());
        let reason = |reason: explain::Reason| v1::Reason {
            task: reason.task.map(|id| id.to_string()),
            slot: reason.slot.map(Into::into),
            node: reason.node.map(|id| id.to_string()),
            code: reason.code.to_owned(),
            owner: reason
                .owner
                .map(|owner| format!("{owner:?}").to_lowercase())
                .unwrap_or_default(),
            age_ns: u64::try_from(reason.age.as_nanos()).unwrap_or(u64::MAX),
            detail: reason.detail,
        };
        Ok(v1::ServiceWhyResponse {
            id: service.id.to_string(),
            name: service.spec.name.clone(),
            running: why.running,
            desired: why.desired,
            summary: why.summary,
            reasons: why.reasons.into_iter().map(reason).collect(),
        })
    }

    /// The tasks asked for, by id: the summaries are made batch by batch.
    pub(super) fn tasks_of(
        view: &StoreView,
        message: &v1::ListTasksRequest,
        node: &str,
    ) -> Result<Vec<Arc<Task>>, Status> {
        let none = String::is_empty;
        let service = Some(&message.service).filter(|it| !none(it));
        let service = service
            .map(|it| resolve::service(view, it))
            .transpose()
            .map_err(refused)?;
        let stack = Some(&message.stack).filter(|it| !none(it));
        let stack = stack
            .map(|it| resolve::stack(view, it))
            .transpose()
            .map_err(refused)?;
        let network = Some(&message.network).filter(|it| !none(it));
        let network = network
            .map(|it| resolve::network(view, it))
            .transpose()
            .map_err(refused)?;
        let node = Some(node).filter(|it| !it.is_empty());
        let node = node
            .map(|it| resolve::node(view, it))
            .transpose()
            .map_err(refused)?;
        let of_stack = |task: &Task| {
            let owner = view
                .service(&task.service)
                .and_then(|service| service.stack.as_ref());
            stack.is_none_or(|stack| owner == Some(&stack.id))
        };
        let wanted = |task: &&Arc<Task>| {
            service.is_none_or(|service| task.service == service.id)
                && node.is_none_or(|node| task.node.as_ref() == Some(&node.id))
                && of_stack(task)
                && network.is_none_or(|network| has_address(task, &network.id))
                && (!message.current_only || is_current(task))
        };
        Ok(match (service, node) {
            (Some(service), _) => view
                .tasks_of_service(&service.id)
                .filter(wanted)
                .cloned()
                .collect(),
            (None, Some(node)) => view.tasks_on_node(&node.id).filter(wanted).cloned().collect(),
            (None, None) => view.tasks().filter(wanted).cloned().collect(),
        })
    }

    pub(super) fn cluster(&self) -> Result<v1::GetClusterResponse, Status> {
        let (view, digest) = self.handle.digest();
        let Some(cluster) = view.cluster() else {
            return Err(Status::unavailable("the cluster is still being made"));
        };
        let status = &cluster.status;
        let token = |secret: &str| {
            let token = JoinToken::new(&status.root_certificate, secret);
            token.map(|token| token.to_string()).unwrap_or_default()
        };
        let (worker, manager) = (
            token(&status.join_tokens.worker),
            token(&status.join_tokens.manager),
        );
        let managers = view.nodes().filter(|node| node.manager.is_some()).count();
        Ok(v1::GetClusterResponse {
            cluster: Some(public_cluster(cluster).into()),
            position: Some(Position::of(&view).into()),
            worker_join_token: worker,
            manager_join_token: manager,
            nodes: u32::try_from(view.node_count()).unwrap_or(u32::MAX),
            managers: u32::try_from(managers).unwrap_or(u32::MAX),
            digest: hex::encode(digest),
        })
    }
}

fn node_name(view: &StoreView, id: &NodeId) -> String {
    let description = view.node(id).and_then(|node| node.description.as_ref());
    description.map(|it| it.hostname.clone()).unwrap_or_default()
}

/// A list as a stream of answers, each with the position of the view. An empty one still gets an answer.
pub(super) fn listed<Item, Answer>(
    view: &StoreView,
    items: impl Iterator<Item = Item> + Send + 'static,
    answer: impl Fn(Vec<Item>, Option<v1::Position>) -> Answer + Send + 'static,
) -> impl Stream<Item = Result<Answer, Status>> + Send + 'static
where
    Item: BatchItem + Send + 'static,
    Answer: Send + 'static,
{
    let position: Option<v1::Position> = Some(Position::of(view).into());
    let mut batches = Batches::new(items).peekable();
    let empty = batches.peek().is_none().then(Vec::new);
    tokio_stream::iter(
        empty
            .into_iter()
            .chain(batches)
            .map(move |batch| Ok(answer(batch, position))),
    )
}
