//! The door of the routes that take notifications: who is let in while more arrives than can be stored.
//!
//! It is passed twice. Before a body is read, everybody is refused while not even an urgent notification would be taken: that
//! is what keeps a refusal cheap. Once the body has told the class, that class decides. Both happen before anything is
//! stored.

use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;

use tidings_core::draft::Draft;
use tidings_core::error::Problem;
use tidings_core::overload::{Class, Shed, admit};

use crate::api::Api;
use crate::error::Failure;

/// The label of what was refused before its class was known.
const UNREAD: &str = "unread";

/// That at least an urgent notification would be taken; extracted before the body.
#[derive(Debug)]
pub(crate) struct Admitted;

impl FromRequestParts<Arc<Api>> for Admitted {
    type Rejection = Failure;

    fn from_request_parts(_parts: &mut Parts, api: &Arc<Api>) -> impl Future<Output = Result<Self, Failure>> + Send {
        let admitted = admit(Class::Urgent, api.services.submitter.accept_wait());
        ready(admitted.map(|()| Self).map_err(|shed| Failure(api.refuse(shed, UNREAD))))
    }
}

impl Api {
    /// Lets a notification in, unless the store is too busy for its class.
    pub(crate) fn admit(&self, draft: &Draft) -> Result<(), Problem> {
        self.admit_after(draft, self.services.submitter.accept_wait())
    }

    /// Lets in what of a batch the store is not too busy for, and refuses the whole if nothing is left of it then.
    pub(crate) fn admit_each(
        &self,
        drafts: Vec<Result<Draft, Problem>>,
    ) -> Result<Vec<Result<Draft, Problem>>, Problem> {
        let wait = self.services.submitter.accept_wait();
        let mut shed = None;
        let mut judged = Vec::with_capacity(drafts.len());
        for draft in drafts {
            judged.push(draft.and_then(|draft| match self.admit_after(&draft, wait) {
                Ok(()) => Ok(draft),
                Err(problem) => {
                    shed = Some(problem.clone());
                    Err(problem)
                }
            }));
        }
        match shed {
            Some(problem) if judged.iter().all(Result::is_err) => Err(problem),
            _ => Ok(judged),
        }
    }

    fn admit_after(&self, draft: &Draft, wait: Duration) -> Result<(), Problem> {
        let class = Class::of(&draft.category, draft.priority);
        admit(class, wait).map_err(|shed| self.refuse(shed, class.as_str()))
    }

    fn refuse(&self, shed: Shed, class: &'static str) -> Problem {
        self.metrics.shed(class);
        Problem::from(shed)
    }
}
