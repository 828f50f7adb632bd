//! What a policy's conditions look at: their conjuncts, for saying which one failed, and the clocks they read, for saying
//! how long an answer holds. Both read Cedar's public syntax tree; neither decides anything.

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp, Var};
use cedar_policy::{EntityUid, EvalResult, Expression, Policy, eval_expression};

use crate::cedar::{Input, PREFIX};

/// The first conjunct of a policy's conditions that does not hold, and what was found; `None` where all hold.
pub(crate) fn first_failing(policy: &Policy, input: &Input) -> Option<(String, String)> {
    let tree = policy.to_pst().ok()?;
    let mut conjuncts = Vec::new();
    for clause in tree.body().clauses() {
        match clause {
            Clause::When(expr) => collect(expr, true, &mut conjuncts),
            Clause::Unless(expr) => collect(expr, false, &mut conjuncts),
        }
    }
    conjuncts.into_iter().find_map(|(expr, positive)| {
        let text = if positive { expr.to_string() } else { format!("!({expr})") };
        match evaluate(&text, input) {
            Ok(EvalResult::Bool(true)) => None,
            Ok(_) => Some((plain(&text), found(expr, input))),
            Err(error) => Some((plain(&text), format!("it cannot be evaluated: {error}"))),
        }
    })
}

/// A text without the namespace that every name in it bears.
pub(crate) fn plain(text: &str) -> String {
    text.replace(PREFIX, "")
}

/// The parts that must all hold, with whether each must be true or false: `when { a && b }` is a and b,
/// `unless { a || b }` is not a and not b.
fn collect<'e>(expr: &'e Expr, positive: bool, into: &mut Vec<(&'e Expr, bool)>) {
    let mut pending = vec![(expr, positive)];
    while let Some((expr, positive)) = pending.pop() {
        match expr {
            Expr::BinaryOp { op: BinaryOp::And, left, right } if positive => {
                pending.push((right, true));
                pending.push((left, true));
            }
            Expr::BinaryOp { op: BinaryOp::Or, left, right } if !positive => {
                pending.push((right, false));
                pending.push((left, false));
            }
            Expr::UnaryOp { op: UnaryOp::Not, expr } => pending.push((expr, !positive)),
            _ => into.push((expr, positive)),
        }
    }
}

fn evaluate(text: &str, input: &Input) -> Result<EvalResult, String> {
    let expression: Expression = text.parse().map_err(|error| format!("{error}"))?;
    eval_expression(&input.request, &input.entities, &expression).map_err(|error| error.to_string())
}

/// The value of each path that `expr` looks at: `context.attAgeSecs is 4020`.
fn found(expr: &Expr, input: &Input) -> String {
    let mut paths: Vec<String> = Vec::new();
    walk(expr, &mut |node| {
        let path = match node {
            Expr::GetAttr { .. } if is_path(node) => node.to_string(),
            Expr::HasAttr { expr, attrs } if is_path(expr) => {
                let names: Vec<&str> = attrs.iter().map(|name| name.as_str()).collect();
                format!("{expr}.{}", names.join("."))
            }
            Expr::Var(_) => node.to_string(),
            _ => return Descend::Yes,
        };
        if !paths.contains(&path) {
            paths.push(path);
        }
        Descend::No
    });
    let values: Vec<String> = paths
        .iter()
        .map(|path| match evaluate(path, input) {
            Ok(EvalResult::EntityUid(uid)) => format!("{path} is {}", plain(&with_parents(&uid, input))),
            Ok(value) => format!("{path} is {}", plain(&value.to_string())),
            Err(_) => format!("{path} is absent"),
        })
        .collect();
    if values.is_empty() { "it never holds".to_owned() } else { values.join(", ") }
}

/// `Instance::"inst_…" (in Enclave::"payments/api", …)`: an instance's own id says nothing to the reader.
pub(crate) fn with_parents(uid: &EntityUid, input: &Input) -> String {
    let mut above: Vec<String> = input.entities.ancestors(uid).into_iter().flatten().map(ToString::to_string).collect();
    above.sort();
    if above.is_empty() { uid.to_string() } else { format!("{uid} (in {})", above.join(", ")) }
}

fn is_path(expr: &Expr) -> bool {
    let mut at = expr;
    while let Expr::GetAttr { expr, .. } = at {
        at = expr;
    }
    matches!(at, Expr::Var(_))
}

/// A clock of the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ContextClock {
    /// `context.now`.
    Now,
    /// `context.attAgeSecs`.
    Age,
    /// `context.peerAttAgeSecs`.
    PeerAge,
}

/// When a policy's conditions may change by time alone.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct TimeUse {
    /// The values, in seconds, at which a comparison of a clock with a constant turns.
    pub(crate) turns: Vec<(ContextClock, i64)>,
    /// Time is used in a way that this analysis does not follow: the answer may change at any moment.
    pub(crate) unbounded: bool,
}

/// How `policy` uses time.
pub(crate) fn time_use(policy: &Policy) -> TimeUse {
    let Ok(tree) = policy.to_pst() else { return TimeUse { turns: Vec::new(), unbounded: true } };
    let mut time = TimeUse::default();
    for clause in tree.body().clauses() {
        let (Clause::When(expr) | Clause::Unless(expr)) = clause;
        let known = walk(expr, &mut |node| {
            if let Some(turns) = turns(node) {
                time.turns.extend(turns);
                return Descend::No;
            }
            match node {
                Expr::HasAttr { expr, .. } if **expr == Expr::Var(Var::Context) => Descend::No,
                Expr::GetAttr { expr, .. } if **expr == Expr::Var(Var::Context) => {
                    time.unbounded |= clock(node).is_some();
                    Descend::No
                }
                Expr::Var(Var::Context) => {
                    time.unbounded = true;
                    Descend::No
                }
                _ => Descend::Yes,
            }
        });
        time.unbounded |= !known;
    }
    time
}

/// Where a comparison of a clock with a number turns: at the value itself, or once the clock is beyond it.
fn turns(expr: &Expr) -> Option<Vec<(ContextClock, i64)>> {
    let Expr::BinaryOp { op, left, right } = expr else { return None };
    let (clock, op, value) = match (clock(left), number(right), number(left), clock(right)) {
        (Some(clock), Some(value), ..) => (clock, *op, value),
        (.., Some(value), Some(clock)) => (clock, mirrored(*op), value),
        _ => return None,
    };
    let beyond = value.saturating_add(1);
    match op {
        BinaryOp::Less | BinaryOp::GreaterEq => Some(vec![(clock, value)]),
        BinaryOp::LessEq | BinaryOp::Greater => Some(vec![(clock, beyond)]),
        BinaryOp::Eq | BinaryOp::NotEq => Some(vec![(clock, value), (clock, beyond)]),
        _ => None,
    }
}

fn mirrored(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Less => BinaryOp::Greater,
        BinaryOp::Greater => BinaryOp::Less,
        BinaryOp::LessEq => BinaryOp::GreaterEq,
        BinaryOp::GreaterEq => BinaryOp::LessEq,
        other => other,
    }
}

fn clock(expr: &Expr) -> Option<ContextClock> {
    let Expr::GetAttr { expr, attr } = expr else { return None };
    match (expr.as_ref(), attr.as_str()) {
        (Expr::Var(Var::Context), "now") => Some(ContextClock::Now),
        (Expr::Var(Var::Context), "attAgeSecs") => Some(ContextClock::Age),
        (Expr::Var(Var::Context), "peerAttAgeSecs") => Some(ContextClock::PeerAge),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Literal(Literal::Long(value)) => Some(*value),
        _ => None,
    }
}

/// Whether to look below a node.
enum Descend {
    Yes,
    No,
}

/// Shows each node of `expr` to `visit`, from the root down and from left to right, without recursion. False when it met
/// a node of a kind that it does not know, below which it has not looked.
fn walk<'e>(expr: &'e Expr, visit: &mut dyn FnMut(&'e Expr) -> Descend) -> bool {
    let mut known = true;
    let mut pending = vec![expr];
    while let Some(node) = pending.pop() {
        if matches!(visit(node), Descend::No) {
            continue;
        }
        let first = pending.len();
        match node {
            Expr::Literal(_) | Expr::Var(_) | Expr::Slot(_) => {}
            Expr::UnaryOp { expr, .. }
            | Expr::GetAttr { expr, .. }
            | Expr::HasAttr { expr, .. }
            | Expr::Like { expr, .. } => pending.push(expr),
            Expr::BinaryOp { left, right, .. } => pending.extend([left.as_ref(), right.as_ref()]),
            Expr::Is { expr, in_expr, .. } => {
                pending.push(expr);
                pending.extend(in_expr.as_deref());
            }
            Expr::IfThenElse { cond, then_expr, else_expr } => {
                pending.extend([cond.as_ref(), then_expr.as_ref(), else_expr.as_ref()]);
            }
            Expr::Set(items) => pending.extend(items.iter().map(AsRef::as_ref)),
            Expr::Record(fields) => pending.extend(fields.values().map(AsRef::as_ref)),
            _ => known = false,
        }
        if let Some(children) = pending.get_mut(first..) {
            children.reverse();
        }
    }
    known
}
