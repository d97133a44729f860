use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use convoke_core::{
    BoxError, BoxFuture, Claim, ClaimStore, Claimed, Delivered, Delivery, HandlerContext, Outcome, Reply, join_all, names,
    unavailable,
};
use tower::Service;

use super::ClaimedElsewhere;
use crate::plan::{Choice, Plan, Said};

/// The service of a [`DedupLayer`](super::DedupLayer).
#[derive(Clone)]
pub struct Dedup<S> {
    inner: S,
    store: Arc<dyn ClaimStore>,
    lease: Duration,
}

/// Put beside a delivery whose messages are claimed: a layer further in has nothing to do.
#[derive(Clone, Copy)]
struct Guarded;

impl<S> Dedup<S> {
    pub(super) fn new(inner: S, store: Arc<dyn ClaimStore>, lease: Duration) -> Self {
        Self { inner, store, lease }
    }
}

impl<S: fmt::Debug> fmt::Debug for Dedup<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedup").field("inner", &self.inner).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl<S> Service<Delivery> for Dedup<S>
where
    S: Service<Delivery, Response = Reply> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Response = Reply;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Reply, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut delivery: Delivery) -> Self::Future {
        // The one that is ready goes along, and is called once the store has answered; or is dropped, with its readiness.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let (store, lease) = (Arc::clone(&self.store), self.lease);
        Box::pin(async move {
            if delivery.extension::<Guarded>().is_some() {
                return inner.call(delivery).await.map_err(Into::into);
            }
            let answers = claim_all(&store, lease, &delivery).await?;
            delivery.insert(Guarded);
            let elsewhere = ClaimedElsewhere::new(lease / 60);
            // Lanes in which somebody else has a message: what comes after it waits with it.
            let mut blocked = HashSet::new();
            let choice = Plan::choose(&mut delivery, |index, message| -> Option<Said> {
                if message.lane.is_some_and(|lane| blocked.contains(&lane)) {
                    return Some(Err(elsewhere.into()));
                }
                match answers[index] {
                    Claimed::Ours => None,
                    Claimed::Done => Some(Ok(Outcome::Ack)),
                    _ => {
                        blocked.extend(message.lane);
                        Some(Err(elsewhere.into()))
                    }
                }
            });
            match choice {
                Choice::All => inner.call(delivery).await.map_err(Into::into),
                Choice::Some(plan) => Ok(plan.widen(inner.call(delivery).await.map_err(Into::into))),
                Choice::None(answer) => answer,
            }
        })
    }
}

/// So many messages of a batch are claimed at the same time.
const AT_ONCE: usize = 100;

/// What the store says of each message; a message without an identity is ours.
async fn claim_all(store: &Arc<dyn ClaimStore>, lease: Duration, delivery: &Delivery) -> Result<Vec<Claimed>, BoxError> {
    let context = delivery.context();
    let one = async |message: &Delivered| {
        let Some(identity) = identity(message, context) else { return Ok::<_, BoxError>(Claimed::Ours) };
        let claim = Claim::new(Arc::clone(store), identity, lease);
        context.claims.claim(message, claim.clone());
        let answer = tokio::time::timeout(lease / 3, store.claim(&claim.identity, claim.holder, lease)).await;
        let claimed = answer.unwrap_or_else(|_| Err(slow(lease / 3))).map_err(unavailable)?;
        context.claims.answered(message, claimed);
        Ok(claimed)
    };
    match delivery.messages() {
        [single] => Ok(vec![one(single).await?]),
        many => {
            let mut all = Vec::with_capacity(many.len());
            for some in many.chunks(AT_ONCE) {
                for claimed in join_all(some.iter().map(one)).await {
                    all.push(claimed?);
                }
            }
            Ok(all)
        }
    }
}

fn slow(within: Duration) -> convoke_core::Error {
    convoke_core::Error::new(convoke_core::ErrorKind::Timeout, format!("the claim store has not answered within {within:?}"))
}

/// What a message is known by; `None` if there is nothing that a redelivery would have too, and another message not.
fn identity(message: &Delivered, context: &HandlerContext) -> Option<String> {
    let (incoming, headers) = (&message.incoming, message.message().headers());
    let HandlerContext { group, handler, .. } = context;
    match (headers.get_str(names::SOURCE), headers.get_str(names::ID)) {
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        (Some(source), Some(id)) => Some(format!("{group}/{handler}/{}:{source}/{id}", source.len())),
        _ if incoming.position.is_stable() => {
            Some(format!("{group}/{handler}/@{}/{}/{}", incoming.message.topic(), incoming.partition, incoming.position))
        }
        _ => None,
    }
}
