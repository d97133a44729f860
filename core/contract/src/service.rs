//! The handler as a `tower` service, and the one place where its type is erased.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tower_layer::Layer;
use tower_service::Service;

use crate::delivery::Delivery;
use crate::error::BoxError;
use crate::reply::Reply;

/// A function from deliveries to replies, as a [`Service`].
#[derive(Clone, Copy)]
pub struct HandlerFn<F>(F);

/// Makes a [`Service`] of an async function from deliveries to replies. It is always ready.
///
/// # Examples
/// ```
/// use convoke_core::{handler_fn, BoxHandler, Reply};
///
/// let service = BoxHandler::new(handler_fn(|delivery| async move {
///     drop(delivery);
///     Ok(Reply::ack())
/// }));
/// # let _ = service;
/// ```
pub const fn handler_fn<F, Fut>(f: F) -> HandlerFn<F>
where
    F: Fn(Delivery) -> Fut,
    Fut: Future<Output = Result<Reply, BoxError>>,
{
    HandlerFn(f)
}

impl<F> fmt::Debug for HandlerFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandlerFn")
    }
}

impl<F, Fut> Service<Delivery> for HandlerFn<F>
where
    F: Fn(Delivery) -> Fut,
    Fut: Future<Output = Result<Reply, BoxError>>,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = Fut;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, delivery: Delivery) -> Fut {
        (self.0)(delivery)
    }
}

/// A service from deliveries to replies whose type is forgotten: a handler, or a handler with layers around it.
///
/// Unlike `tower::util::BoxCloneService` it reuses memory: a call takes an idle cell, which holds a clone of the service and
/// the place of its future, and gives it back when the future is done or dropped. In the steady state a call allocates
/// nothing, whatever the number of layers, and the service is cloned once for each call that runs at the same time. After a call
/// that failed or panicked the cell is dropped, and the next one that needs it makes a new clone.
///
/// # Cancel safety
/// Dropping the future of a call drops the handler's future where it stands.
pub struct BoxHandler {
    pool: Arc<Pool>,
    /// The cell that `poll_ready` has found ready for the next call.
    ready: Option<Box<dyn Cell>>,
    /// A cell whose service is not ready yet; its readiness belongs to this clone.
    pending: Option<Box<dyn Cell>>,
}

struct Pool(Mutex<Cells>);

struct Cells {
    template: Box<dyn Cell>,
    idle: Vec<Box<dyn Cell>>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Box<dyn Cell> {
        let mut cells = self.lock();
        let idle = cells.idle.pop();
        idle.unwrap_or_else(|| cells.template.fresh())
    }

    /// Takes a cell back whose future is gone.
    fn put(&self, cell: Box<dyn Cell>) {
        self.lock().idle.push(cell);
    }
}

impl BoxHandler {
    /// Forgets the type of `service`.
    #[must_use]
    pub fn new<S>(service: S) -> Self
    where
        S: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        let template = Box::new(ServiceCell { service, future: Box::pin(None) });
        let pool = Arc::new(Pool(Mutex::new(Cells { template, idle: Vec::new() })));
        Self { pool, ready: None, pending: None }
    }

    /// Puts a layer around it, and forgets the type again.
    #[must_use]
    pub fn layered<L>(self, layer: &L) -> Self
    where
        L: Layer<Self>,
        L::Service: Service<Delivery, Response = Reply> + Clone + Send + 'static,
        <L::Service as Service<Delivery>>::Error: Into<BoxError>,
        <L::Service as Service<Delivery>>::Future: Send,
    {
        Self::new(layer.layer(self))
    }
}

/// A clone shares the idle cells, and has no readiness of its own yet, as tower asks of clones.
impl Clone for BoxHandler {
    fn clone(&self) -> Self {
        Self { pool: Arc::clone(&self.pool), ready: None, pending: None }
    }
}

impl fmt::Debug for BoxHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoxHandler").field("ready", &self.ready.is_some()).finish_non_exhaustive()
    }
}

impl Service<Delivery> for BoxHandler {
    type Response = Reply;
    type Error = BoxError;
    type Future = HandlerFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.ready.is_some() {
            return Poll::Ready(Ok(()));
        }
        let mut cell = self.pending.take().unwrap_or_else(|| self.pool.take());
        match cell.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.ready = Some(cell);
                Poll::Ready(Ok(()))
            }
            // tower: a service that failed to get ready is to be dropped.
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.pending = Some(cell);
                Poll::Pending
            }
        }
    }

    /// # Panics
    /// If `poll_ready` has not said that it is ready, as tower's contract allows.
    fn call(&mut self, delivery: Delivery) -> HandlerFuture {
        #[allow(clippy::expect_used, reason = "tower's contract: poll_ready comes first")]
        let mut cell = self.ready.take().expect("`poll_ready` must return ready before `call`");
        cell.call(delivery);
        HandlerFuture { cell: Some(cell), pool: Arc::clone(&self.pool) }
    }
}

/// The future of a [`BoxHandler`]'s call.
pub struct HandlerFuture {
    cell: Option<Box<dyn Cell>>,
    pool: Arc<Pool>,
}

impl fmt::Debug for HandlerFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerFuture").field("done", &self.cell.is_none()).finish()
    }
}

impl Future for HandlerFuture {
    type Output = Result<Reply, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // The cell is held here, not in `self`: if the handler panics it is dropped with the panic, and never used again.
        let Some(mut cell) = self.cell.take() else {
            return Poll::Ready(Err("a handler's future was polled after it was done".into()));
        };
        let Poll::Ready(output) = cell.poll(cx) else {
            self.cell = Some(cell);
            return Poll::Pending;
        };
        // A layer that fails may have done so without using a readiness that it had asked for, as a shed load does. In an idle
        // cell that would be a permit, or a place in a queue, that nobody gets: the cell ends with its readiness.
        if output.is_ok() {
            self.pool.put(cell);
        }
        Poll::Ready(output)
    }
}

impl Drop for HandlerFuture {
    fn drop(&mut self) {
        if let Some(mut cell) = self.cell.take() {
            // Outside of the lock: it drops the handler's future.
            cell.clear();
            self.pool.put(cell);
        }
    }
}

/// A clone of a service and the place where its future lives, behind one virtual call each.
trait Cell: Send {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>>;
    fn call(&mut self, delivery: Delivery);
    /// Polls the future of the call, and drops it when it is done.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, BoxError>>;
    fn clear(&mut self);
    fn fresh(&self) -> Box<dyn Cell>;
}

struct ServiceCell<S: Service<Delivery>> {
    service: S,
    /// Refilled in place for each call.
    future: Pin<Box<Option<S::Future>>>,
}

impl<S> Cell for ServiceCell<S>
where
    S: Service<Delivery, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.service.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, delivery: Delivery) {
        let future = self.service.call(delivery);
        self.future.set(Some(future));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Reply, BoxError>> {
        let Some(future) = self.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Err("a handler's cell was polled without a call".into()));
        };
        let Poll::Ready(output) = future.poll(cx) else { return Poll::Pending };
        self.future.set(None);
        Poll::Ready(output.map_err(Into::into))
    }

    fn clear(&mut self) {
        self.future.set(None);
    }

    fn fresh(&self) -> Box<dyn Cell> {
        Box::new(Self { service: self.service.clone(), future: Box::pin(None) })
    }
}
