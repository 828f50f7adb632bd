//! The OpenAPI 3.1 document.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::problem::{self, ProblemDocument};

/// What problems of a status mean, whichever route they come from.
const PROBLEMS: &[(u16, &str)] = &[
    (400, "The request is not what it must be; `errors` says where."),
    (401, "No credential came, or it is nobody's."),
    (403, "The policy does not let the caller do this."),
    (404, "There is no such thing."),
    (409, "It is there already, or its state does not allow this."),
    (412, "It changed after it was read."),
    (413, "The body is too long."),
    (415, "The body is not JSON."),
    (422, "The policy is not valid; `errors` says where."),
    (428, "`If-Match` is missing."),
    (429, "A limit is reached."),
    (503, "The node, or the instance that is asked for, cannot serve this now."),
];

/// One route, as the document shows it.
pub(super) struct Operation {
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    /// Whether it wants a credential.
    pub(super) login: bool,
    parameters: Vec<Value>,
    /// The schema of its body.
    pub(super) body: Option<Value>,
    /// The status when all went well.
    pub(super) status: u16,
    content: Option<(&'static str, Value)>,
    /// Whether the answer carries an `ETag`.
    pub(super) tagged: bool,
    problems: BTreeSet<u16>,
    schemas: BTreeMap<String, Value>,
}

impl Operation {
    pub(super) fn new(method: Method, path: &'static str, id: &'static str, summary: &'static str) -> Self {
        Self {
            method,
            path,
            id,
            summary,
            login: false,
            parameters: Vec::new(),
            body: None,
            status: 200,
            content: None,
            tagged: false,
            problems: BTreeSet::new(),
            schemas: BTreeMap::new(),
        }
    }

    /// A status that its problems may have.
    pub(super) fn problem(&mut self, status: u16) {
        self.problems.insert(status);
    }

    /// The answer when all went well.
    pub(super) fn answer(&mut self, status: u16, media: &'static str, schema: Value) {
        self.status = status;
        self.content = Some((media, schema));
    }

    /// Keeps the schema of `T` and what it is made of, and refers to it.
    pub(super) fn schema<T: ToSchema>(&mut self) -> Value {
        let name = T::name();
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        self.schemas.extend(parts.into_iter().map(|(name, schema)| (name, json!(schema))));
        self.schemas.insert(name.to_string(), json!(T::schema()));
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// Parameters, one for each field of `T`.
    pub(super) fn parameters<T: ToSchema>(&mut self, place: &str) {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        self.schemas.extend(parts.into_iter().map(|(name, schema)| (name, json!(schema))));
        let schema = json!(T::schema());
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let mut parameter = json!({
                "name": name, "in": place, "required": required.contains(&name.as_str()), "schema": field,
            });
            if let (Some(parameter), Some(text)) = (parameter.as_object_mut(), field.get("description")) {
                parameter.insert("description".to_owned(), text.clone());
            }
            self.parameters.push(parameter);
        }
    }

    /// A header parameter.
    pub(super) fn header(&mut self, name: &str, description: &str, schema: Value, required: bool) {
        self.parameters.push(json!({
            "name": name, "in": "header", "required": required, "description": description, "schema": schema,
        }));
    }

    fn show(&self) -> Value {
        let mut answers = Map::new();
        let mut good = json!({"description": "It went well."});
        if let (Some(good), Some((media, schema))) = (good.as_object_mut(), &self.content) {
            good.insert("content".to_owned(), json!({*media: {"schema": schema}}));
        }
        if let (Some(good), true) = (good.as_object_mut(), self.tagged) {
            good.insert("headers".to_owned(), json!({"ETag": {"$ref": "#/components/headers/ETag"}}));
        }
        answers.insert(self.status.to_string(), good);
        for status in &self.problems {
            answers.insert(status.to_string(), json!({"$ref": format!("#/components/responses/Problem{status}")}));
        }
        let mut operation = Map::new();
        let mut put = |name: &str, value: Value| drop(operation.insert(name.to_owned(), value));
        put("operationId", json!(self.id));
        put("summary", json!(self.summary));
        put("responses", Value::Object(answers));
        if !self.parameters.is_empty() {
            put("parameters", json!(self.parameters));
        }
        if let Some(schema) = &self.body {
            put("requestBody", json!({"required": true, "content": {"application/json": {"schema": schema}}}));
        }
        if !self.login {
            put("security", json!([]));
        }
        Value::Object(operation)
    }
}

/// The document of these operations.
pub(super) fn document(operations: &[Operation]) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    let mut problem = Operation::new(Method::GET, "", "", "");
    problem.schema::<ProblemDocument>();
    schemas.extend(problem.schemas);
    for operation in operations {
        schemas.extend(operation.schemas.clone());
        let method = operation.method.as_str().to_ascii_lowercase();
        paths.entry(operation.path).or_default().insert(method, operation.show());
    }
    let content = json!({problem::MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}});
    let problems: Map<String, Value> = PROBLEMS
        .iter()
        .map(|(status, means)| (format!("Problem{status}"), json!({"description": means, "content": content})))
        .collect();
    let etag = json!({"description": "The revision of the record, for `If-Match`.", "schema": {"type": "string"}});
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Burgrave",
            "version": "v1",
            "description": "Administration of a trust domain. Every failure is a problem document (RFC 9457) whose `code` is \
                            stable. The node proves its domain in the TLS handshake, by the chain from the genesis hash on.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"certificate": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": problems,
            "headers": {"ETag": etag},
            "securitySchemes": {
                "certificate": {"type": "mutualTLS", "description": "An administrator's client certificate."},
                "token": {"type": "http", "scheme": "bearer", "description": "A token of a `dev` node."},
            },
        },
    })
}
