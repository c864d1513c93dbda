//! Numbered streams: the inbox of a user.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::{MessageId, TenantId, UserId};
use crate::time::Timestamp;

/// One entry of an inbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboxEntry {
    /// Its number: 1, 2, 3, … without a gap.
    pub number: u64,
    /// The notification.
    pub id: MessageId,
    /// The category of the notification.
    pub category: String,
    /// The payload: the text of a JSON object.
    pub payload: String,
    /// When it was appended.
    pub at: Timestamp,
    /// When a device acknowledged it.
    pub delivered_at: Option<Timestamp>,
    /// When its user read it.
    pub read_at: Option<Timestamp>,
}

/// A page of an inbox, with the state of the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxPage {
    /// The entries asked for, by number.
    pub entries: Vec<InboxEntry>,
    /// The state of the whole inbox at the time of the read.
    pub head: InboxHead,
}

/// The state of an inbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InboxHead {
    /// The number of the last entry; 0 when there was none.
    pub last: u64,
    /// How many entries are not read.
    pub unread: u64,
}

/// Which entries of an inbox to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxRange {
    /// Upwards from the first entry after this number: what a reader has missed.
    After(u64),
    /// Downwards from the last entry before this number: newest first.
    Before(u64),
}

/// What a user or a device acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Receipt {
    /// A device has it.
    Delivered,
    /// The user has read it; implies delivered.
    Read,
}

/// Which entries a receipt is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptFor {
    /// All entries up to this number.
    UpTo(u64),
    /// These entries.
    Numbers(Vec<u64>),
}

/// Reads and acknowledges streams. Appending happens where the notification is settled.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Entries of an inbox that still exist, at most `limit`. An inbox that was never written is empty.
    async fn read_inbox(
        &self,
        tenant: TenantId,
        user: UserId,
        range: InboxRange,
        limit: usize,
    ) -> Result<InboxPage, StoreError>;

    /// Marks entries. Repeating a receipt changes nothing: the first time counts. A first read also marks the
    /// notification as read and is written to its journal. Returns the state of the inbox afterwards.
    async fn acknowledge(
        &self,
        tenant: TenantId,
        user: UserId,
        receipt: Receipt,
        of: ReceiptFor,
        now: Timestamp,
    ) -> Result<InboxHead, StoreError>;
}
