//! The description of the interface (`OpenAPI` 3.1), generated from the handlers.
//!
//! What each handler says about itself stands beside it. What they have in common is added here: how to authenticate,
//! and which errors each call can end with.

pub(crate) mod bodies;

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Content, ContentBuilder, OneOfBuilder, OpenApi as Document, Ref, RefOr, Required, ResponseBuilder, Schema,
};
use utoipa::{Modify, OpenApi};

use tidings_core::error::ErrorCode;

use crate::error::reason;
use bodies::{ErrorBody, FieldProblem, ProblemDetails};

const JSON: &str = "application/json";

/// The description of the interface, as pretty JSON that is the same for every build of one version.
pub fn openapi_json() -> String {
    let mut text = Description::openapi()
        .to_pretty_json()
        .expect("a description is made of strings, numbers, lists and maps with string keys");
    text.push('\n');
    text
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tidings",
        description = "Notification infrastructure: say once what somebody should be told; Tidings makes it durable before it answers, and delivers it."
    ),
    paths(
        crate::notifications::submit_notification,
        crate::notifications::submit_batch,
        crate::notifications::list_notifications,
        crate::notifications::show_notification,
        crate::notifications::cancel_notification,
        crate::dead_letters::list_dead_letters,
        crate::dead_letters::redrive_matching,
        crate::dead_letters::show_dead_letter,
        crate::dead_letters::annotate_dead_letter,
        crate::dead_letters::redrive_dead_letter,
        crate::dead_letters::discard_dead_letter,
        crate::users::create_user,
        crate::users::list_users,
        crate::users::show_user,
        crate::users::update_user,
        crate::users::delete_user,
        crate::inbox::read_inbox,
        crate::inbox::count_unread,
        crate::inbox::acknowledge_inbox,
        crate::auth::register,
        crate::auth::log_in,
        crate::health::check_health,
        crate::health::check_readiness,
        crate::metrics::export_metrics,
        crate::docs::show_openapi
    ),
    components(schemas(ErrorBody, ProblemDetails, FieldProblem)),
    security(("bearer" = [])),
    modifiers(&Bearer, &Errors, &Bodies),
    tags(
        (name = "notifications", description = "Telling somebody something, and following it to its end"),
        (name = "inbox", description = "What users read in the application"),
        (name = "users", description = "Who can be told things, and how they are reached"),
        (name = "accounts", description = "Getting a token"),
        (name = "dead letters", description = "What could not be delivered"),
        (name = "operation", description = "Health, metrics, this description")
    )
)]
struct Description;

/// Says what a token is.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("From POST /api/auth/login or `tidings token`. The scopes are `read:any` and `admin`."))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(scheme));
    }
}

/// Adds the errors to each operation.
struct Errors;

impl Modify for Errors {
    fn modify(&self, document: &mut Document) {
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in operations(item) {
                let is_public = operation.security.is_some();
                add_errors(operation, &possible_errors(method, path, is_public));
            }
        }
    }
}

/// Says of bodies what the types of the handlers cannot.
struct Bodies;

/// What may be sent without a body. A body that is there is an object: `null` is none.
const OPTIONAL_BODIES: [(&str, &str); 3] = [
    ("/api/dead-letters/redrive", "BulkRequest"),
    ("/api/dead-letters/{messageId}/redrive", "RedriveRequest"),
    ("/api/dead-letters/{messageId}/discard", "DiscardRequest"),
];

impl Modify for Bodies {
    fn modify(&self, document: &mut Document) {
        for (path, schema) in OPTIONAL_BODIES {
            if let Some(RefOr::T(body)) = post(document, path).and_then(|operation| operation.request_body.as_mut()) {
                body.required = Some(Required::False);
                set_schema(body.content.get_mut(JSON), Ref::from_schema_name(schema).into());
            }
        }
        // A batch of which no item was good is answered with the verdicts, too.
        let refused = post(document, "/api/notifications/batch")
            .and_then(|operation| operation.responses.responses.get_mut("400"));
        if let Some(RefOr::T(refused)) = refused {
            let either =
                OneOfBuilder::new().item(Ref::from_schema_name("ErrorBody")).item(Ref::from_schema_name("BatchAnswer"));
            set_schema(refused.content.get_mut(JSON), either.into());
        }
    }
}

fn post<'a>(document: &'a mut Document, path: &str) -> Option<&'a mut Operation> {
    document.paths.paths.get_mut(path)?.post.as_mut()
}

fn set_schema(content: Option<&mut RefOr<Content>>, schema: RefOr<Schema>) {
    if let Some(RefOr::T(content)) = content {
        content.schema = Some(schema);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", item.get.as_mut()),
        ("post", item.post.as_mut()),
        ("patch", item.patch.as_mut()),
        ("delete", item.delete.as_mut()),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.map(|operation| (method, operation)))
}

/// The errors of one call. Listed by hand: no type of a handler tells them.
fn possible_errors(method: &str, path: &str, is_public: bool) -> Vec<ErrorCode> {
    type Code = ErrorCode;
    const BODY: [ErrorCode; 5] = [
        Code::INVALID_JSON,
        Code::JSON_TOO_COMPLEX,
        Code::REQUEST_TIMEOUT,
        Code::BODY_TOO_LARGE,
        Code::UNSUPPORTED_MEDIA_TYPE,
    ];
    const STORE: [ErrorCode; 5] =
        [Code::INTERNAL, Code::OVERLOADED, Code::STORE_UNAVAILABLE, Code::SHUTTING_DOWN, Code::STORAGE_FULL];
    if !path.starts_with("/api/") {
        return if is_public { Vec::new() } else { vec![Code::UNAUTHORIZED, Code::FORBIDDEN] };
    }
    let mut codes = own_errors(method, path);
    if !is_public {
        codes.push(Code::UNAUTHORIZED);
    }
    if path.contains('{') {
        codes.push(Code::NOT_FOUND);
    }
    if matches!(method, "post" | "patch") && !path.ends_with("/cancel") {
        codes.extend(BODY);
    }
    codes.extend(STORE);
    codes
}

fn own_errors(method: &str, path: &str) -> Vec<ErrorCode> {
    type Code = ErrorCode;
    match (method, path) {
        ("post", "/api/notifications") => vec![
            Code::MISSING_FIELDS,
            Code::PAYLOAD_NOT_OBJECT,
            Code::INVALID_FIELD,
            Code::UNKNOWN_TYPE,
            Code::INVALID_PAYLOAD,
            Code::DESTINATION_NOT_ALLOWED,
            Code::EXPIRES_IN_PAST,
            Code::SEND_AT_OUT_OF_RANGE,
            Code::INVALID_IDEMPOTENCY_KEY,
            Code::IDEMPOTENCY_MISMATCH,
            Code::UNKNOWN_USER,
            Code::CHANNEL_NOT_CONFIGURED,
        ],
        ("post", "/api/notifications/batch") => {
            vec![Code::MISSING_FIELDS, Code::INVALID_FIELD, Code::INVALID_IDEMPOTENCY_KEY]
        }
        ("get", "/api/notifications") => vec![Code::INVALID_FIELD, Code::INVALID_CURSOR],
        ("post", "/api/notifications/{messageId}/cancel") => vec![Code::FORBIDDEN, Code::NOT_CANCELLABLE],
        ("get", "/api/dead-letters") | ("post", "/api/dead-letters/redrive") => {
            vec![Code::FORBIDDEN, Code::INVALID_FIELD, Code::INVALID_CURSOR]
        }
        ("post", "/api/dead-letters/{messageId}/redrive") => vec![
            Code::FORBIDDEN,
            Code::INVALID_FIELD,
            Code::INVALID_PAYLOAD,
            Code::DESTINATION_NOT_ALLOWED,
            Code::CHANNEL_NOT_CONFIGURED,
            Code::DEAD_LETTER_CLOSED,
        ],
        ("get", "/api/dead-letters/{messageId}") | ("delete", _) => vec![Code::FORBIDDEN],
        (_, path) if path.starts_with("/api/dead-letters/") => {
            vec![Code::FORBIDDEN, Code::INVALID_FIELD, Code::DEAD_LETTER_CLOSED]
        }
        ("post", "/api/users") | ("patch", "/api/users/{userId}") => {
            vec![Code::FORBIDDEN, Code::MISSING_FIELDS, Code::INVALID_FIELD, Code::USER_EXISTS]
        }
        ("post", "/api/auth/register") => {
            vec![Code::FORBIDDEN, Code::MISSING_FIELDS, Code::INVALID_FIELD, Code::USER_EXISTS, Code::RATE_LIMITED]
        }
        ("post", "/api/auth/login") => {
            vec![Code::MISSING_FIELDS, Code::INVALID_FIELD, Code::INVALID_CREDENTIALS, Code::RATE_LIMITED]
        }
        ("post", "/api/users/{userId}/inbox/receipts") => {
            vec![Code::FORBIDDEN, Code::MISSING_FIELDS, Code::INVALID_FIELD]
        }
        ("get", "/api/users") => vec![Code::FORBIDDEN, Code::INVALID_FIELD],
        ("get", "/api/users/{userId}/inbox") => vec![Code::INVALID_FIELD],
        _ => Vec::new(),
    }
}

/// One response for each status, with the codes that it can carry and an example of the first.
fn add_errors(operation: &mut Operation, codes: &[ErrorCode]) {
    let mut by_status: BTreeMap<u16, Vec<ErrorCode>> = BTreeMap::new();
    for code in codes {
        by_status.entry(code.status).or_default().push(*code);
    }
    for (status, codes) in by_status {
        let response = ResponseBuilder::new()
            .description(description(&codes))
            .content(JSON, content("ErrorBody", example(&codes)))
            .content("application/problem+json", content("ProblemDetails", None))
            .build();
        let responses = &mut operation.responses.responses;
        responses.entry(status.to_string()).or_insert_with(|| response.into());
    }
}

fn description(codes: &[ErrorCode]) -> String {
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {} {}", code.meaning, code.remedy)).collect();
    lines.join("\n\n")
}

fn content(schema: &str, example: Option<Value>) -> Content {
    ContentBuilder::new().schema(Some(Ref::from_schema_name(schema))).example(example).build()
}

fn example(codes: &[ErrorCode]) -> Option<Value> {
    let first = codes.first()?;
    Some(json!({"error": reason(*first), "message": first.meaning, "code": first.code}))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::routes::PATHS;

    fn document() -> Value {
        serde_json::from_str(&openapi_json()).unwrap()
    }

    #[test]
    fn every_route_is_described() {
        let document = document();
        let described: BTreeSet<&str> = document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
        let routed: BTreeSet<&str> =
            PATHS.into_iter().filter(|path| *path != "/" && !path.starts_with("/docs")).collect();
        assert_eq!(described, routed);
    }

    #[test]
    fn the_description_is_the_same_each_time() {
        assert_eq!(openapi_json(), openapi_json());
        assert!(openapi_json().starts_with("{\n") && openapi_json().ends_with("}\n"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let text = openapi_json();
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let references = text.split("\"#/components/schemas/").skip(1);
        let mut seen = 0;
        for name in references.filter_map(|rest| rest.split('"').next()) {
            assert!(schemas.contains_key(name), "{name}");
            seen += 1;
        }
        assert!(seen > 20, "{seen}");
    }

    #[test]
    fn every_code_that_a_client_can_meet_is_described() {
        let text = openapi_json();
        // Routing itself answers with this one, whatever the operation.
        let beside = [ErrorCode::METHOD_NOT_ALLOWED];
        for code in ErrorCode::ALL.iter().filter(|code| !beside.contains(code)) {
            assert!(text.contains(&format!("`{code}`")), "{code}");
        }
    }

    #[test]
    fn bodies_that_may_be_left_out_are_said_to_be() {
        let document = document();
        for (path, schema) in OPTIONAL_BODIES {
            let body = &document["paths"][path]["post"]["requestBody"];
            assert_eq!(body["required"], false, "{path}");
            let reference = format!("#/components/schemas/{schema}");
            assert_eq!(body["content"][JSON]["schema"], json!({"$ref": reference}), "{path}");
        }
    }

    #[test]
    fn a_refused_batch_may_carry_verdicts() {
        let document = document();
        let refused = &document["paths"]["/api/notifications/batch"]["post"]["responses"]["400"];
        assert_eq!(refused["content"][JSON]["schema"]["oneOf"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn calls_need_a_token_unless_they_say_otherwise() {
        let document = document();
        assert_eq!(document["security"], json!([{"bearer": []}]));
        assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
        for public in ["/health", "/ready", "/openapi.json"] {
            assert_eq!(document["paths"][public]["get"]["security"], json!([{}]), "{public}");
        }
        assert!(document["paths"]["/api/notifications"]["post"]["responses"]["401"].is_object());
        assert!(document["paths"]["/api/auth/login"]["post"]["security"].is_array());
    }
}
