//! The keeper of one task: carries out what the task's machine says and feeds the results back.
//!
//! One tokio task each. Steps run beside it, so that a stop is heard while an image is pulled, and a step
//! that panics fails its task alone. It ends when its task is no longer assigned and nothing is left of it.

use crate::assignment::AssignedTask;
use crate::board::{Board, Posted};
use crate::clients::Clients;
use crate::clock;
use crate::crash;
use crate::disk::Disk;
use crate::name::container_of;
use crate::network::{NetworkHub, PortsTaken};
use crate::pulling;
use crate::runtime::TaskRuntime;
use crate::task::{
    AttachFailure, Failure, ImageFacts, Input, Link, Origin, Output, Report, Step, TaskMachine, awaits_client,
};
use shoal_agent_runtime::image::Progress;
use shoal_agent_runtime::{ContainerId, Exit, ExitReason};
use shoal_core::model::{DesiredState, TaskId, WallTime};
use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// What every keeper shares.
#[derive(Debug)]
pub(crate) struct Shared<R> {
    pub(crate) runtime: Arc<R>,
    pub(crate) board: Arc<Board>,
    pub(crate) disk: Disk,
    pub(crate) link: watch::Receiver<Link>,
    pub(crate) network: Arc<NetworkHub>,
    pub(crate) ports: watch::Receiver<PortsTaken>,
    pub(crate) clients: Arc<Clients>,
}

impl<R> Clone for Shared<R> {
    fn clone(&self) -> Self {
        Self {
            runtime: Arc::clone(&self.runtime),
            board: Arc::clone(&self.board),
            disk: self.disk.clone(),
            link: self.link.clone(),
            network: Arc::clone(&self.network),
            ports: self.ports.clone(),
            clients: Arc::clone(&self.clients),
        }
    }
}

/// What a keeper is told.
#[derive(Debug)]
pub(crate) enum Order {
    Steer(DesiredState, Duration),
    /// No longer assigned.
    Leave,
}

struct Keeper<R> {
    shared: Shared<R>,
    machine: TaskMachine,
    task: Arc<AssignedTask>,
    container: ContainerId,
    steps: JoinSet<Input>,
    /// Given to steps that say more than their result.
    news: mpsc::Sender<Input>,
    fetch: Option<AbortHandle>,
    posted: Option<(u32, shoal_core::model::TaskState, WallTime)>,
    /// The attempt whose container was made, and when.
    created: Option<(u32, WallTime)>,
}

/// Keeps one task until it is left and gone. `created`: the last attempt whose container was made, and when.
pub(crate) async fn keep<R: TaskRuntime>(
    shared: Shared<R>,
    task: AssignedTask,
    origin: Origin,
    created: Option<(u32, WallTime)>,
    mut orders: mpsc::Receiver<Order>,
) -> TaskId {
    let id = task.id.clone();
    let mut link = shared.link.clone();
    let mut ports = shared.ports.clone();
    ports.mark_changed();
    let mut clients = shared.clients.watch();
    let mut alone = awaits_client(&task);
    let current = *link.borrow_and_update();
    let (machine, outputs) = TaskMachine::new(task.clone(), origin, current, Instant::now());
    let Some(container) = container_of(&id, machine.attempt()) else {
        return id;
    };
    let (news, mut said) = mpsc::channel(1);
    let mut keeper = Keeper {
        shared,
        machine,
        task: Arc::new(task),
        container,
        steps: JoinSet::new(),
        news,
        fetch: None,
        posted: None,
        created,
    };
    crash::reached("worker.take.1-keeper-up");
    keeper.perform(outputs).await;
    crash::reached("worker.take.2-begun");
    let mut left = false;
    while !(left && keeper.machine.is_gone()) {
        let input = tokio::select! {
            order = orders.recv(), if !left => match order {
                Some(Order::Steer(desired, hold)) => Input::Steer { desired, hold },
                Some(Order::Leave) => {
                    left = true;
                    crash::reached("worker.leave.1-told");
                    Input::Steer { desired: DesiredState::Remove, hold: Duration::ZERO }
                }
                // The worker shuts down: containers go on, the next daemon takes them up.
                None => break,
            },
            Some(result) = keeper.steps.join_next() => match finished(result) {
                Some(input) => input,
                None => continue,
            },
            Some(input) = said.recv() => input,
            // Handled below; the tick that wakes it does no harm.
            Ok(()) = changed(&mut link) => Input::Tick,
            Ok(()) = ports.changed() => Input::PortTaken(ports.borrow_and_update().of(&keeper.task)),
            Ok(came) = clients.wait_for(|came| came.contains(&id)), if alone => {
                drop(came);
                alone = false;
                Input::ClientCame
            }
            () = clock::sleep_until(keeper.machine.next_deadline()) => Input::Tick,
        };
        // What the link is decides what an end means, so it is heard before anything else.
        if link.has_changed().unwrap_or(false) {
            let now = *link.borrow_and_update();
            keeper.handle(Input::Link(now)).await;
        }
        keeper.handle(input).await;
    }
    id
}

/// Waits for a change without taking it.
async fn changed(link: &mut watch::Receiver<Link>) -> Result<(), watch::error::RecvError> {
    let result = link.changed().await;
    link.mark_changed();
    result
}

/// A step that was broken off says nothing; one that panicked says so.
fn finished(result: Result<Input, JoinError>) -> Option<Input> {
    match result {
        Ok(input) => Some(input),
        Err(error) if error.is_panic() => Some(Input::Panicked(panic_text(&*error.into_panic()))),
        Err(_) => None,
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

impl<R: TaskRuntime> Keeper<R> {
    async fn handle(&mut self, input: Input) {
        if matches!(input, Input::Created(Ok(()))) {
            self.made();
        }
        let outputs = self.machine.handle(input, Instant::now());
        self.perform(outputs).await;
    }

    async fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Report { report, durable } => self.report(report, durable).await,
                Output::Do(step) => self.begin(step),
                Output::Cancel => {
                    if let Some(fetch) = self.fetch.take() {
                        fetch.abort();
                    }
                }
            }
        }
    }

    async fn report(&mut self, mut report: Report, durable: bool) {
        let wall = self.reached(&report);
        report.at = Some(wall);
        report.created = self.created_in(report.attempt);
        if let Some(container) = container_of(&self.task.id, report.attempt) {
            self.container = container;
        }
        if durable {
            if let Err(error) = self.shared.disk.put_report(&self.task.id, &report).await {
                // The managers hear it all the same; only a crash before they do would find it unsaid.
                tracing::warn!(task = %self.task.id, error = %chain(&error), "a task's report is not on disk");
            }
            crash::reached("worker.end.2-on-disk");
        } else {
            self.shared.disk.note_report(&self.task.id, &report);
            crash::reached("worker.report.1-noted");
        }
        tracing::debug!(task = %self.task.id, state = report.state.name(), message = report.message, "a task is told of");
        self.shared.board.post(Posted {
            task: Arc::clone(&self.task),
            container: self.container.clone(),
            report,
            wall,
            health: self.machine.health(),
        });
        crash::reached(if durable {
            "worker.end.3-posted"
        } else {
            "worker.report.2-posted"
        });
    }

    /// The container is there. What is made again after a crash is as old as it was.
    fn made(&mut self) {
        let attempt = self.machine.attempt();
        if self.created_in(attempt).is_none() {
            self.created = Some((attempt, clock::wall()));
        }
    }

    fn created_in(&self, attempt: u32) -> Option<WallTime> {
        self.created
            .and_then(|(made, wall)| (made == attempt).then_some(wall))
    }

    /// When the report's state was reached.
    fn reached(&mut self, report: &Report) -> WallTime {
        let wall = match self.posted {
            Some((attempt, state, wall)) if (attempt, state) == (report.attempt, report.state) => wall,
            _ => report.at.unwrap_or_else(clock::wall),
        };
        self.posted = Some((report.attempt, report.state, wall));
        wall
    }

    fn begin(&mut self, step: Step) {
        tracing::debug!(task = %self.task.id, ?step, "a step begins");
        let runtime = Arc::clone(&self.shared.runtime);
        let network = Arc::clone(&self.shared.network);
        let news = self.news.clone();
        let (task, id) = (Arc::clone(&self.task), self.container.clone());
        let attempt = self.machine.attempt();
        let fetching = step == Step::Fetch;
        let handle = self.steps.spawn(async move {
            let hands = Hands {
                runtime: &*runtime,
                network: &network,
                news: &news,
            };
            carry_out(hands, step, &task, &id, attempt).await
        });
        if fetching {
            self.fetch = Some(handle);
        }
    }
}

/// What steps are carried out with.
struct Hands<'a, R> {
    runtime: &'a R,
    network: &'a NetworkHub,
    /// For what is worth a word before the step is done.
    news: &'a mpsc::Sender<Input>,
}

async fn carry_out<R: TaskRuntime>(
    hands: Hands<'_, R>,
    step: Step,
    task: &AssignedTask,
    id: &ContainerId,
    attempt: u32,
) -> Input {
    if let Some(point) = before(&step) {
        crash::reached(point);
    }
    let after = after(&step);
    let Hands {
        runtime,
        network,
        news,
    } = hands;
    let input = match step {
        Step::Look => Input::Looked(runtime.has_image(task).await),
        Step::Fetch => Input::Fetched(fetch(runtime, news, task).await),
        Step::Inspect => Input::Inspected(runtime.inspect(task).await),
        Step::Create => Input::Created(runtime.create(id, task, attempt).await),
        Step::Attach => Input::Attached(attach(runtime, network, task, id).await),
        Step::CheckPorts => Input::PortsChecked(runtime.check_ports(task).await),
        Step::Start => Input::Started(runtime.start(id).await),
        Step::Probe(plan) => Input::Probed(runtime.probe(id, &plan).await),
        Step::Admit => {
            network.restore(&task.id).await;
            // Nothing waits for it.
            Input::Tick
        }
        Step::Withdraw => {
            network.withdraw(std::slice::from_ref(&task.id)).await;
            Input::Withdrawn
        }
        Step::Detach => {
            network.detach(&task.id, id).await;
            Input::Detached
        }
        Step::Remove => Input::Removed(runtime.remove(id, Some(task)).await),
        Step::Watch => watch_end(runtime, task, id).await,
        Step::Signal(signal) => {
            if let Err(failure) = runtime.kill(id, signal).await {
                // An ended container is told by its exit; anything else by SIGKILL when the grace is over.
                tracing::debug!(task = %task.id, %signal, reason = failure.message, "a signal was not delivered");
            }
            // Nothing to add: what follows is the exit or the deadline, and an early tick does no harm.
            Input::Tick
        }
    };
    if let Some(point) = after {
        crash::reached(point);
    }
    input
}

/// The crash point before a step.
fn before(step: &Step) -> Option<&'static str> {
    match step {
        Step::Fetch => Some("worker.fetch.1-begun"),
        Step::Create => Some("worker.create.1-begun"),
        Step::Attach => Some("worker.attach.1-begun"),
        Step::Start => Some("worker.start.1-begun"),
        Step::Signal(_) => Some("worker.stop.1-begun"),
        Step::Detach => Some("worker.detach.1-begun"),
        Step::Remove => Some("worker.remove.1-begun"),
        Step::Look
        | Step::Inspect
        | Step::CheckPorts
        | Step::Watch
        | Step::Probe(_)
        | Step::Admit
        | Step::Withdraw => None,
    }
}

/// The crash point after it, its result not yet handled.
fn after(step: &Step) -> Option<&'static str> {
    match step {
        Step::Fetch => Some("worker.fetch.2-done"),
        Step::Create => Some("worker.create.2-done"),
        Step::Attach => Some("worker.attach.2-done"),
        Step::CheckPorts => Some("worker.ports.1-checked"),
        Step::Start => Some("worker.start.2-done"),
        Step::Signal(_) => Some("worker.stop.2-signalled"),
        Step::Watch => Some("worker.end.1-seen"),
        Step::Detach => Some("worker.detach.2-done"),
        Step::Remove => Some("worker.remove.2-done"),
        Step::Look | Step::Inspect | Step::Probe(_) | Step::Admit | Step::Withdraw => None,
    }
}

/// Fetches, and tells now and then how far that is.
async fn fetch<R: TaskRuntime>(
    runtime: &R,
    news: &mpsc::Sender<Input>,
    task: &AssignedTask,
) -> Result<ImageFacts, Failure> {
    let (progress, events) = Progress::channel();
    tokio::select! {
        biased;
        result = runtime.fetch(task, &progress) => result,
        never = pulling::tell(events, &task.spec.container.image, news) => match never {},
    }
}

async fn attach<R: TaskRuntime>(
    runtime: &R,
    network: &NetworkHub,
    task: &AssignedTask,
    id: &ContainerId,
) -> Result<(), AttachFailure> {
    let namespace = runtime.namespace(id).await.map_err(AttachFailure::Refused)?;
    network.attach(task, id, namespace).await
}

async fn watch_end<R: TaskRuntime>(runtime: &R, task: &AssignedTask, id: &ContainerId) -> Input {
    let exit = runtime.wait(id).await.unwrap_or_else(|failure| Exit {
        code: 255,
        signal: None,
        oom_killed: false,
        reason: ExitReason::NeverStarted {
            message: failure.message,
        },
        at: SystemTime::now(),
    });
    // Its own sockets are closed by now, so a port that is still taken is another's.
    let hint = match exit.code {
        0 => None,
        _ => runtime
            .check_ports(task)
            .await
            .err()
            .map(|failure| failure.message),
    };
    Input::Ended { exit, hint }
}

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
