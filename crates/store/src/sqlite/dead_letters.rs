//! Dead letters and their review.

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};
use tidings_core::error::StoreError;
use tidings_core::id::{MessageId, TenantId};
use tidings_core::journal::{Entry, Event};
use tidings_core::notification::{Content, TraceContext};
use tidings_core::ports::DeadLetters;
use tidings_core::ports::dead_letters::{DeadLetter, DeadLetterPage, DeadLetterQuery, Review, ReviewStatus, Reviewed};
use tidings_core::time::Timestamp;

use super::error::sort;
use super::open::SqliteStore;
use super::rows::{self, Conditions};
use super::writer::Tx;

/// The most rows that one page looks at.
const LOOK_AT: i64 = 20_000;

#[async_trait]
impl DeadLetters for SqliteStore {
    async fn dead_letter(&self, tenant: TenantId, id: MessageId) -> Result<Option<DeadLetter>, StoreError> {
        self.read(move |connection| find(connection, tenant, id).map_err(|error| sort(&error))).await
    }

    async fn list_dead_letters(&self, tenant: TenantId, query: DeadLetterQuery) -> Result<DeadLetterPage, StoreError> {
        self.read(move |connection| list(connection, tenant, &query).map_err(|error| sort(&error))).await
    }

    async fn review(
        &self,
        tenant: TenantId,
        id: MessageId,
        review: Review,
        now: Timestamp,
    ) -> Result<Option<Reviewed>, StoreError> {
        self.inner.writer.write(1, move |tx| Ok(decide(tx, tenant, id, &review, now)?)).await
    }

    async fn due_redrives(&self, now: Timestamp, limit: usize) -> Result<Vec<DeadLetter>, StoreError> {
        self.read(move |connection| due(connection, now, limit).map_err(|error| sort(&error))).await
    }
}

const LETTER: &str = "n.id, n.tenant_id, n.user_id, n.channel, n.category, n.priority, n.correlation_id, n.traceparent, c.payload, c.metadata, \
     n.error, n.attempts, n.accepted_at, d.died_at, d.review_status, d.note, n.redrives, d.next_redrive_at, d.redriven_as";
const FROM: &str = "dead_letters d JOIN notifications n ON n.id = d.id LEFT JOIN contents c ON c.id = d.id";

fn read_letter(row: &Row<'_>) -> rusqlite::Result<DeadLetter> {
    let payload: Option<String> = row.get(8)?;
    let metadata = row.get(9)?;
    let word: String = row.get(14)?;
    let review_status = ReviewStatus::ALL.into_iter().find(|status| status.as_str() == word);
    Ok(DeadLetter {
        id: rows::message_id(row, 0)?,
        tenant: TenantId::from_integer(row.get(1)?),
        user: rows::user_id(row, 2)?,
        channel: row.get(3)?,
        category: row.get(4)?,
        priority: rows::priority(row, 5)?,
        context: TraceContext { correlation_id: row.get(6)?, traceparent: row.get(7)? },
        content: payload.map(|payload| Content { payload, metadata }),
        error: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
        attempts: row.get(11)?,
        accepted_at: rows::instant(row, 12)?,
        died_at: rows::instant(row, 13)?,
        review_status: review_status.ok_or_else(|| rows::unreadable(14, format!("{word} is not a review status")))?,
        note: row.get(15)?,
        redrives: row.get(16)?,
        next_redrive_at: rows::optional_instant(row, 17)?,
        redriven_as: rows::optional_message_id(row, 18)?,
    })
}

fn find(connection: &Connection, tenant: TenantId, id: MessageId) -> rusqlite::Result<Option<DeadLetter>> {
    let mut select =
        connection.prepare_cached(&format!("SELECT {LETTER} FROM {FROM} WHERE d.id = ?1 AND d.tenant_id = ?2"))?;
    select.query_row(params![id.as_integer(), tenant.as_integer()], read_letter).optional()
}

fn list(connection: &Connection, tenant: TenantId, query: &DeadLetterQuery) -> rusqlite::Result<DeadLetterPage> {
    let transaction = connection.unchecked_transaction()?;
    let mut window = Conditions::default();
    window.and("tenant_id = ?", tenant.as_integer());
    window.and_if("id < ?", query.before.map(MessageId::as_integer));
    let mut filter = Conditions::default();
    filter.and_if("n.user_id = ?", query.user.map(|user| *user.0.as_bytes()));
    filter.and_if("n.channel = ?", query.channel.clone());
    filter.and_if("n.category = ?", query.category.clone());
    filter.and_if("d.review_status = ?", query.review_status.map(ReviewStatus::as_str));
    filter.and_if("instr(n.error, ?) > 0", query.error_contains.clone());
    filter.and_if("d.died_at >= ?", query.from.map(Timestamp::as_millis));
    filter.and_if("d.died_at < ?", query.until.map(Timestamp::as_millis));
    let inner = format!(
        "SELECT * FROM dead_letters INDEXED BY dead_letters_by_tenant WHERE 1 {} ORDER BY id DESC LIMIT {LOOK_AT}",
        window.sql
    );
    let limit = i64::try_from(query.limit).unwrap_or(i64::MAX);
    let sql = format!(
        "SELECT {LETTER} FROM ({inner}) d CROSS JOIN notifications n ON n.id = d.id LEFT JOIN contents c ON c.id = d.id
         WHERE 1 {} ORDER BY d.id DESC LIMIT {limit}",
        filter.sql
    );
    let mut select = transaction.prepare_cached(&sql)?;
    let items = select
        .query_map(params_from_iter(window.bound().chain(filter.bound())), read_letter)?
        .collect::<rusqlite::Result<Vec<DeadLetter>>>()?;
    let next = if items.len() < query.limit {
        let last = format!(
            "SELECT id FROM dead_letters INDEXED BY dead_letters_by_tenant WHERE 1 {} ORDER BY id DESC LIMIT 1 OFFSET {}",
            window.sql,
            LOOK_AT - 1
        );
        let mut end = transaction.prepare_cached(&last)?;
        end.query_row(params_from_iter(window.bound()), |row| rows::message_id(row, 0)).optional()?
    } else {
        items.last().map(|letter| letter.id)
    };
    Ok(DeadLetterPage { items, next })
}

fn due(connection: &Connection, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<DeadLetter>> {
    let mut select = connection.prepare_cached(&format!(
        "SELECT {LETTER} FROM {FROM} WHERE d.next_redrive_at <= ?1 ORDER BY d.next_redrive_at LIMIT ?2"
    ))?;
    let letters = select.query_map(params![now.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)], read_letter)?;
    letters.collect()
}

fn decide(
    tx: &mut Tx<'_>,
    tenant: TenantId,
    id: MessageId,
    review: &Review,
    now: Timestamp,
) -> rusqlite::Result<Option<Reviewed>> {
    let Some(letter) = find(tx.connection, tenant, id)? else {
        return Ok(None);
    };
    if !letter.review_status.is_open() {
        return Ok(Some(Reviewed::Closed(letter.review_status)));
    }
    let integer = id.as_integer();
    match review {
        Review::Note { note, status } => {
            let mut update = tx.connection.prepare_cached("UPDATE dead_letters SET note = coalesce(?2, note), review_status = coalesce(?3, review_status) WHERE id = ?1")?;
            update.execute(params![integer, note, status.map(ReviewStatus::as_str)])?;
        }
        Review::Discard { note } => {
            let mut update = tx.connection.prepare_cached(
                "UPDATE dead_letters SET note = coalesce(?2, note), review_status = 'discarded', next_redrive_at = NULL WHERE id = ?1",
            )?;
            update.execute(params![integer, note])?;
            rows::append_entry(tx.connection, integer, &Entry::new(now, Event::Discarded))?;
        }
        // Erased since the replacement was made from it: it must not come back.
        Review::Redrive(_) if letter.content.is_none() => return Ok(Some(Reviewed::Closed(letter.review_status))),
        Review::Redrive(notification) => {
            rows::insert(tx, notification)?;
            let mut update = tx.connection.prepare_cached(
                "UPDATE dead_letters SET review_status = 'redriven', redriven_as = ?2, next_redrive_at = NULL WHERE id = ?1",
            )?;
            update.execute(params![integer, notification.id.as_integer()])?;
            let entry = Entry::new(now, Event::Redriven).with_detail(notification.id.to_string());
            rows::append_entry(tx.connection, integer, &entry)?;
        }
    }
    let after = find(tx.connection, tenant, id)?;
    let is_undecided = |letter: &DeadLetter| letter.review_status == ReviewStatus::Pending;
    match (is_undecided(&letter), after.as_ref().is_some_and(is_undecided)) {
        (true, false) => tx.changes.decided(),
        (false, true) => tx.changes.undecided(),
        (true, true) | (false, false) => {}
    }
    Ok(after.map(|letter| Reviewed::Done(Box::new(letter))))
}
