//! A turn for the executor's other tasks.

use core::future::poll_fn;
use core::task::Poll;

/// Gives the executor a turn.
pub(super) async fn pause() {
    let mut has_paused = false;
    poll_fn(|context| {
        if core::mem::replace(&mut has_paused, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
