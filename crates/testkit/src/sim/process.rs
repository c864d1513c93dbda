//! The end of a process, without a process.

use tokio::sync::watch;

/// A process that can end between any two steps. What belongs to it asks before it does something that others can see,
/// and does nothing more once it has ended: the future is left pending, for its runtime to be dropped.
#[derive(Debug)]
pub struct Process {
    ended: watch::Sender<bool>,
}

impl Default for Process {
    fn default() -> Self {
        Self { ended: watch::Sender::new(false) }
    }
}

impl Process {
    /// Begins a new life.
    pub fn begin(&self) {
        self.ended.send_replace(false);
    }

    /// Ends it here and now; never returns.
    pub async fn end<T>(&self) -> T {
        self.ended.send_replace(true);
        std::future::pending().await
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// Waits until it ends.
    pub async fn ended(&self) {
        let mut ended = self.ended.subscribe();
        // The sender is a part of this process, so it cannot be gone while somebody waits.
        drop(ended.wait_for(|ended| *ended).await);
    }

    /// Goes on only while it lives.
    pub async fn go_on(&self) {
        if self.has_ended() {
            std::future::pending::<()>().await;
        }
    }
}
