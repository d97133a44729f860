use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Waits for several futures at once, and returns what they come to, in their order. For a few: each time that one of them can go on,
/// all that are not done are polled.
///
/// # Cancel safety
/// All of them are dropped where they stand.
///
/// # Examples
/// ```
/// use std::future::{Future, ready};
/// use std::pin::pin;
/// use std::task::{Context, Poll, Waker};
///
/// let both = pin!(convoke_core::join_all([ready(3), ready(5)]));
/// assert_eq!(both.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(vec![3, 5]));
/// ```
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = waiting.iter().map(|_| None).collect();
    poll_fn(move |cx| {
        for (future, done) in waiting.iter_mut().zip(&mut done).filter(|(_, done)| done.is_none()) {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                *done = Some(output);
            }
        }
        if done.iter().any(Option::is_none) { Poll::Pending } else { Poll::Ready(done.drain(..).flatten().collect()) }
    })
    .await
}
