//! The one table of routes, from which the router and the OpenAPI document are made.

use std::future::Future;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::Shared;
use super::answer::{All, Created, Done, Listed, OpenApi, Shown, Text, Versioned};
use super::auth::{Admin, MaybeAdmin};
use super::document::{Operation, document};
use super::extract::{Asked, At, Body, IfMatch};
use super::problem::Refusal;

/// The routes as they are collected.
#[derive(Default)]
pub(super) struct Table {
    router: Router<Arc<Shared>>,
    operations: Vec<Operation>,
}

impl Table {
    /// Adds a route. `id` names the operation in the document, `summary` says in a line what it does; the rest of its
    /// description follows from the handler's types.
    pub(super) fn route<H, T, D>(
        mut self,
        method: Method,
        path: &'static str,
        id: &'static str,
        summary: &'static str,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<Shared>> + Documented<D>,
        T: 'static,
    {
        let mut operation = Operation::new(method.clone(), path, id, summary);
        H::describe(&mut operation);
        self.operations.push(operation);
        // INVARIANT: the table uses methods that the router knows.
        let filter = MethodFilter::try_from(method).unwrap_or(MethodFilter::GET);
        self.router = self.router.route(path, on(filter, handler));
        self
    }

    /// The OpenAPI document.
    pub(super) fn document(&self) -> Value {
        document(&self.operations)
    }

    /// The router over what handlers share.
    pub(super) fn into_router(self, shared: Arc<Shared>) -> Router {
        self.router.fallback(no_route).method_not_allowed_fallback(no_method).with_state(shared)
    }
}

async fn no_route(uri: http::Uri) -> Refusal {
    let detail = format!("there is nothing at `{}`", uri.path());
    burgrave_types::Problem::new(burgrave_types::ProblemCode::NotFound, detail)
        .with_fix("`/v1/openapi.json` lists what there is")
        .into()
}

async fn no_method(method: Method, uri: http::Uri) -> Refusal {
    Refusal::invalid("", format!("`{}` takes no {method}", uri.path())).with_status(StatusCode::METHOD_NOT_ALLOWED)
}

/// A handler that says of itself what it takes and gives.
pub(super) trait Documented<D> {
    fn describe(operation: &mut Operation);
}

macro_rules! documented {
    ($($part:ident)*) => {
        impl<F, Fut, R, $($part),*> Documented<(R, $($part,)*)> for F
        where
            F: Fn($($part),*) -> Fut,
            Fut: Future<Output = R>,
            R: Answer,
            $($part: Part,)*
        {
            fn describe(operation: &mut Operation) {
                $($part::describe(operation);)*
                R::describe(operation);
            }
        }
    };
}

documented!();
documented!(A);
documented!(A B);
documented!(A B C);
documented!(A B C D);

/// An argument of a handler.
pub(super) trait Part {
    fn describe(operation: &mut Operation);
}

impl Part for State<Arc<Shared>> {
    fn describe(_: &mut Operation) {}
}

impl Part for Admin {
    fn describe(operation: &mut Operation) {
        operation.login = true;
        operation.problem(401);
        operation.problem(403);
        operation.problem(503);
    }
}

impl Part for MaybeAdmin {
    fn describe(operation: &mut Operation) {
        operation.problem(401);
        operation.problem(403);
        operation.problem(503);
    }
}

impl<T: ToSchema> Part for At<T> {
    fn describe(operation: &mut Operation) {
        operation.parameters::<T>("path");
        operation.problem(404);
    }
}

impl<T: ToSchema> Part for Asked<T> {
    fn describe(operation: &mut Operation) {
        operation.parameters::<T>("query");
    }
}

impl Part for IfMatch {
    fn describe(operation: &mut Operation) {
        operation.header(
            "If-Match",
            "The `ETag` that was read: the revision that the change is based on.",
            json!({"type": "string", "examples": ["\"17\""]}),
            true,
        );
        operation.problem(412);
        operation.problem(428);
    }
}

impl<T: ToSchema> Part for Body<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.schema::<T>();
        operation.body = Some(schema);
        operation.problem(409);
        operation.problem(422);
        operation.problem(413);
        operation.problem(415);
    }
}

/// What a handler gives.
pub(super) trait Answer {
    fn describe(operation: &mut Operation);
}

impl<A: Answer> Answer for Result<A, Refusal> {
    fn describe(operation: &mut Operation) {
        A::describe(operation);
        operation.problem(400);
    }
}

impl<T: ToSchema + Serialize> Answer for Shown<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.schema::<T>();
        operation.answer(200, "application/json", schema);
    }
}

impl<T: ToSchema + Serialize> Answer for Versioned<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.schema::<T>();
        operation.answer(200, "application/json", schema);
        operation.tagged = true;
    }
}

impl<T: ToSchema + Serialize> Answer for Created<T> {
    fn describe(operation: &mut Operation) {
        let schema = operation.schema::<T>();
        operation.answer(201, "application/json", schema);
        operation.tagged = true;
    }
}

impl<T: ToSchema + Serialize> Answer for Listed<T> {
    fn describe(operation: &mut Operation) {
        let (items, revision) = (operation.schema::<T>(), operation.schema::<burgrave_types::Revision>());
        let properties = [
            ("items", json!({"type": "array", "items": items})),
            ("next", json!({"type": "string", "description": "`page_token` of the next page; absent on the last."})),
            ("revision", revision),
        ];
        let properties: Map<String, Value> =
            properties.map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect();
        let schema = json!({"type": "object", "required": ["items", "revision"], "properties": properties});
        operation.answer(200, "application/json", schema);
    }
}

impl<T: ToSchema + Serialize> Answer for All<T> {
    fn describe(operation: &mut Operation) {
        let items = operation.schema::<T>();
        operation.answer(200, "application/json", json!({"type": "array", "items": items}));
    }
}

impl Answer for Done {
    fn describe(operation: &mut Operation) {
        operation.status = 204;
    }
}

impl Answer for Text {
    fn describe(operation: &mut Operation) {
        operation.answer(200, "text/*", json!({"type": "string"}));
    }
}

impl Answer for OpenApi {
    fn describe(operation: &mut Operation) {
        operation.answer(200, "application/json", json!({"type": "object"}));
    }
}
