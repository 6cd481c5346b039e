//! The description of the API, OpenAPI 3.1, made of the types that are read and written.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::answer::{Health, Problem, Request, RequestRow, Response, VERSION};
use crate::problem::Kind;
use crate::router::{HEALTH, MAX_BODY_BYTES, MAX_ROWS, OPENAPI, SCORE};
use crate::rows::{Form, MEDIA_TYPES};

/// The document.
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    // Of what is read a member may be missing, of what is written it may be left out.
    let mut read = settings.clone().for_deserialize().into_generator();
    let mut written = settings.for_serialize().into_generator();
    let body = body(&mut read);
    let verdicts = answer(
        "A verdict or an error for each row, in their order",
        "application/json",
        written.subschema_for::<Response>().to_value(),
    );
    let health = answer(
        "The program answers; the endpoint is not asked",
        "application/json",
        written.subschema_for::<Health>().to_value(),
    );
    let problem = written.subschema_for::<Problem>().to_value();
    let mut schemas = read.take_definitions(true);
    schemas.extend(written.take_definitions(true));
    let of = |kinds: &[Kind], status: u16| {
        let named: Vec<&Kind> = kinds
            .iter()
            .filter(|kind| kind.status().as_u16() == status)
            .collect();
        let titles: Vec<String> = named
            .iter()
            .map(|kind| format!("`{}`: {}", kind.name(), kind.title()))
            .collect();
        answer(&titles.join("; "), "application/problem+json", problem.clone())
    };
    let mut answers = Map::from_iter([("200".to_owned(), verdicts)]);
    for kind in Kind::ALL {
        // Those of other paths and methods.
        if ![Kind::NotFound, Kind::MethodNotAllowed].contains(kind) {
            let status = kind.status().as_u16();
            answers.insert(status.to_string(), of(Kind::ALL, status));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "IP Insights scorer",
            "summary": "Verdicts on (entity, IPv4) pairs",
            "version": VERSION.to_string(),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"}
        },
        // Below where this document is: a stage or a custom domain has a path before it.
        "servers": [{"url": "."}],
        "paths": {
            SCORE: {
                "post": {
                    "operationId": "score",
                    "summary": "Score rows",
                    "description": format!(
                        "At most {MAX_ROWS} rows and {MAX_BODY_BYTES} bytes. A row that cannot be scored has an error in place \
                         of its verdict, and the others are scored; where none can be, the request is refused."
                    ),
                    "requestBody": {"required": true, "content": body},
                    "responses": answers
                }
            },
            HEALTH: {
                "get": {"operationId": "health", "summary": "Whether the program answers", "responses": {"200": health}}
            },
            OPENAPI: {
                "get": {
                    "operationId": "openapi",
                    "summary": "This document",
                    "responses": {"200": answer("OpenAPI 3.1", "application/json", json!({"type": "object"}))}
                }
            }
        },
        "components": {"schemas": schemas}
    })
}

fn answer(description: &str, media_type: &str, schema: Value) -> Value {
    json!({"description": description, "content": {media_type: {"schema": schema}}})
}

/// The forms of a request.
fn body(generator: &mut SchemaGenerator) -> Value {
    // An object a line, each of them a row.
    generator.subschema_for::<RequestRow>();
    let mut forms = Map::new();
    for (name, form) in MEDIA_TYPES {
        let content = match form {
            Form::Json => json!({
                "schema": generator.subschema_for::<Request>(),
                "example": {"rows": [{"entity": "Canada", "ip": "206.190.159.0"}]}
            }),
            Form::JsonLines => json!({
                "schema": {"type": "string", "description": "A Row, as JSON, on each line"},
                "example": "{\"entity\": \"Canada\", \"ip\": \"206.190.159.0\"}\n"
            }),
            Form::Csv => json!({
                "schema": {"type": "string", "description": "`entity,ip` on each line; a first line with these names is a header"},
                "example": "Canada,206.190.159.0\n"
            }),
        };
        forms.insert(name.to_owned(), content);
    }
    Value::Object(forms)
}
