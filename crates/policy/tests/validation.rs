//! What is taken as a policy, and how a fault is told.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests may fail loudly"
)]

use burgrave_policy::{MAX_POLICY_BYTES, PolicyError, STANDING, SimpleRule, Tier, validate};
use burgrave_types::problem::InputError;
use burgrave_types::{Problem, ProblemCode};
use proptest::prelude::*;

const EXAMPLES: [&str; 8] = [
    r#"permit (principal in Burgrave::Release::"payments/api@3.1",
        action in [Burgrave::Action::"decrypt", Burgrave::Action::"encrypt"],
        resource in Burgrave::Namespace::"payments")
    when { [Burgrave::Tee::"snp", Burgrave::Tee::"tdx"].contains(principal.att.tee) && context.attAgeSecs < 3600 };"#,
    r#"permit (principal in Burgrave::Enclave::"payments/api", action == Burgrave::Action::"derive",
        resource == Burgrave::Keyspace::"payments/storage")
    when { principal.att has svn && principal.att.svn >= 4 && principal.att.proved.contains(Burgrave::Proof::"boot") };"#,
    r#"permit (principal in Burgrave::Enclave::"payments/api", action in Burgrave::Action::"communicate",
        resource == Burgrave::Channel::"payments/ledger/default")
    when { context.peer in Burgrave::Enclave::"payments/ledger" && context.peer.att.tee == Burgrave::Tee::"snp"
        && context.peerAttAgeSecs < 600 && context.attAgeSecs < 600 };"#,
    r#"permit (principal, action == Burgrave::Action::"receive", resource) when { principal in resource.owner };"#,
    r#"forbid (principal, action in Burgrave::Action::"communicate", resource in Burgrave::Namespace::"internal")
    unless { principal in Burgrave::Namespace::"internal" && context.peer in Burgrave::Namespace::"internal" };"#,
    r#"permit (principal in Burgrave::Role::"payments-admin", action == Burgrave::Action::"administer",
        resource in Burgrave::Namespace::"payments") when { context.now < 1900000000 };"#,
    r#"forbid (principal is Burgrave::Candidate, action == Burgrave::Action::"attest", resource)
    when { principal.att has platform && principal.att.platform == "00ff" };"#,
    r#"permit (principal in Burgrave::EnclaveGroup::"payments/backend", action in Burgrave::Action::"useKey",
        resource is Burgrave::Key in Burgrave::Namespace::"payments");"#,
];

fn domain(text: &str) -> Result<(), Vec<InputError>> {
    validate(text, &Tier::Domain).map(|_| ()).map_err(|error| error.faults().to_vec())
}

fn payments(text: &str) -> Result<(), PolicyError> {
    validate(text, &Tier::Namespace("payments".parse().unwrap())).map(|_| ())
}

fn only(faults: Result<(), Vec<InputError>>) -> InputError {
    let faults = faults.unwrap_err();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults[0].clone()
}

#[test]
fn the_examples_and_the_standing_policies_are_valid() {
    for text in EXAMPLES.into_iter().chain(STANDING.map(|(_, text)| text)) {
        if let Err(error) = validate(text, &Tier::Domain) {
            panic!("{error}\n{text}");
        }
    }
}

#[test]
fn a_syntax_error_is_told_with_line_and_column() {
    let fault = only(domain("permit (principal, action,\n    resource) when { 1 + };"));
    assert_eq!(fault.at, "line 2, column 26", "{fault:?}");
}

#[test]
fn a_misspelt_attribute_is_told_with_line_and_column() {
    let text = "permit (principal, action == Burgrave::Action::\"encrypt\", resource)\nwhen { principal.att.te == Burgrave::Tee::\"snp\" };";
    let fault = only(domain(text));
    assert_eq!(fault.at, "line 2, column 8", "{fault:?}");
    assert!(fault.reason.contains("te"), "{fault:?}");
    assert!(!fault.reason.contains("policy0"), "{fault:?}");
}

#[test]
fn misspelt_words_of_the_closed_vocabularies_are_faults() {
    for (text, word) in [
        (EXAMPLES[0].replace("\"tdx\"", "\"tdxx\""), "tdxx"),
        (EXAMPLES[0].replace("Action::\"decrypt\"", "Action::\"decript\""), "decript"),
        (EXAMPLES[0].replace("Burgrave::Release", "Burgrave::Relase"), "Relase"),
        (STANDING[1].1.replace("\"revoked\"", "\"revokd\""), "revokd"),
        (EXAMPLES[1].replace("Proof::\"boot\"", "Proof::\"boots\""), "boots"),
    ] {
        let faults = domain(&text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.reason.contains(word)), "{word}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.at.starts_with("line ")), "{faults:?}");
    }
}

#[test]
fn an_optional_claim_must_be_asked_for_before_it_is_read() {
    let fault = only(domain(
        r#"permit (principal, action == Burgrave::Action::"encrypt", resource) when { principal.att.svn >= 4 };"#,
    ));
    assert!(fault.reason.contains("svn") && fault.reason.contains("has"), "{fault:?}");
}

#[test]
fn all_faults_are_told_at_once() {
    let text = EXAMPLES[0].replace("\"tdx\"", "\"tdxx\"").replace("attAgeSecs", "ageSecs");
    let faults = domain(&text).unwrap_err();
    assert!(faults.iter().all(|fault| !fault.reason.contains("policy0")), "{faults:?}");
    for word in ["tdxx", "ageSecs"] {
        assert!(faults.iter().any(|fault| fault.reason.contains(word)), "{faults:?}");
    }
}

#[test]
fn a_policy_that_can_never_apply_is_refused() {
    let fault = only(domain("permit (principal, action, resource) when { false };"));
    assert!(fault.reason.contains("impossible") || fault.reason.contains("evaluates to false"), "{fault:?}");
}

#[test]
fn an_id_that_has_not_the_form_of_its_kind_is_refused_where_it_stands() {
    for bad in
        ["Enclave::\"payments\"", "Release::\"payments/api\"", "Namespace::\"Payments\"", "Release::\"payments/api@\""]
    {
        let text =
            format!("permit (\n  principal in Burgrave::{bad}, action == Burgrave::Action::\"encrypt\", resource);");
        let fault = only(domain(&text));
        assert_eq!(fault.at, "line 2, column 16", "{bad}: {fault:?}");
        assert!(fault.reason.contains("expected"), "{fault:?}");
    }
}

#[test]
fn one_text_is_one_policy() {
    let two = "permit (principal, action == Burgrave::Action::\"encrypt\", resource);\n  forbid (principal, action == Burgrave::Action::\"decrypt\", resource);";
    let fault = only(domain(two));
    assert_eq!(fault.at, "line 2, column 3");
    assert!(fault.reason.contains("2 policies"), "{fault:?}");
    assert!(only(domain("// nothing")).reason.contains("no policy"));
    let template = "permit (principal == ?principal, action == Burgrave::Action::\"encrypt\", resource);";
    assert!(only(domain(template)).reason.contains("template"));
}

#[test]
fn a_namespaces_policy_stays_inside_its_namespace() {
    for inside in [EXAMPLES[0], EXAMPLES[1], EXAMPLES[2], EXAMPLES[7]] {
        payments(inside).unwrap();
    }
    for outside in [
        // Unconstrained on one side or the other.
        r#"permit (principal, action == Burgrave::Action::"encrypt", resource in Burgrave::Namespace::"payments");"#,
        r#"permit (principal in Burgrave::Namespace::"payments", action == Burgrave::Action::"encrypt", resource);"#,
        r#"permit (principal is Burgrave::Instance, action == Burgrave::Action::"encrypt", resource == Burgrave::Key::"payments/pii");"#,
        // Another namespace, in either scope or in a condition; a name that only begins like it.
        r#"permit (principal in Burgrave::Enclave::"hr/api", action == Burgrave::Action::"encrypt", resource == Burgrave::Key::"payments/pii");"#,
        r#"permit (principal in Burgrave::Enclave::"payments/api", action == Burgrave::Action::"encrypt", resource == Burgrave::Key::"hr/pii");"#,
        r#"permit (principal in Burgrave::Enclave::"payments-x/api", action == Burgrave::Action::"encrypt", resource == Burgrave::Key::"payments/pii");"#,
        r#"permit (principal in Burgrave::Enclave::"payments/api", action == Burgrave::Action::"send",
            resource in Burgrave::Namespace::"payments") when { context.peer in Burgrave::Enclave::"hr/api" };"#,
        // A scope in a condition does not count: `||` would undo it.
        r#"permit (principal, action == Burgrave::Action::"encrypt", resource == Burgrave::Key::"payments/pii")
            when { principal in Burgrave::Namespace::"payments" };"#,
        // Whose namespace cannot be told from the name.
        r#"permit (principal == Burgrave::Instance::"inst_aaaaaaaaaaaaaaaaaaaaaaaaaa", action == Burgrave::Action::"encrypt",
            resource == Burgrave::Key::"payments/pii");"#,
        EXAMPLES[5],
    ] {
        let error = payments(outside).expect_err(outside);
        assert!(error.faults().iter().all(|fault| fault.at.starts_with("line ")), "{error}");
        if outside != EXAMPLES[5] {
            validate(outside, &Tier::Domain).unwrap();
        }
    }
}

#[test]
fn a_refusal_becomes_a_problem_with_its_places() {
    let problem: Problem = validate("permit", &Tier::Domain).unwrap_err().into();
    assert_eq!(problem.code, ProblemCode::PolicyInvalid);
    assert!(!problem.errors.is_empty());
}

/// `validate` on a thread with the stack that threads have by default, whatever runs the test.
fn on_a_default_stack(text: String) -> Result<(), Vec<InputError>> {
    let run = move || domain(&text);
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap()
}

#[test]
fn a_text_that_nests_too_deep_is_refused_before_it_overflows_a_stack() {
    for (start, step, end, close) in [
        ("", "(", "true", ")"),
        ("", "[", "1", "]"),
        ("", "{a:", "1", "}"),
        ("", "[true].contains(", "true", ")"),
        ("", "if true then true else ", "true", ""),
        ("", "if (", "context.now > 0", ") then true else false"),
        ("0", "+1", " < 1", ""),
        ("0", "*1", " < 1", ""),
        ("context.now > 0", "&&true", "", ""),
        ("context.now > 0", "||true", "", ""),
        ("principal", ".a", "", ""),
        ("true } ", "when { true } ", "when { true ", ""),
        ("", "true, ((((((((", "true", "))))))))"),
    ] {
        let head = "permit (principal, action == Burgrave::Action::\"encrypt\", resource) when { ";
        let room = MAX_POLICY_BYTES - head.len() - start.len() - end.len() - 3;
        let count = room / (step.len() + close.len());
        let text = format!("{head}{start}{}{end}{} }};", step.repeat(count), close.repeat(count));
        let faults = on_a_default_stack(text).unwrap_err();
        assert!(faults[0].reason.contains("nests too deep"), "{step}: {faults:?}");
    }
    let long = format!("{} // {}", EXAMPLES[0], "x".repeat(MAX_POLICY_BYTES));
    assert!(only(domain(&long)).reason.contains("bytes"));
}

/// Cedar's type checker reports nothing where its stack runs short; so the deepest text that is taken must leave it room.
#[test]
fn a_fault_in_the_deepest_place_that_is_taken_is_still_found() {
    let body = |inner: &str, brackets: usize, conjuncts: usize| {
        format!(
            "permit (principal, action == Burgrave::Action::\"encrypt\", resource) when {{ {}{inner}{}{} }};",
            "(".repeat(brackets),
            ")".repeat(brackets),
            " && context.now > 0".repeat(conjuncts),
        )
    };
    let (good, bad) = ("principal.att.tee == Burgrave::Tee::\"snp\"", "principal.att.tea == Burgrave::Tee::\"snp\"");
    let too_deep =
        |text: String| on_a_default_stack(text).is_err_and(|faults| faults[0].reason.contains("nests too deep"));
    for brackets in [0, 5, 10] {
        let deepest = (0..100).rev().find(|conjuncts| !too_deep(body(good, brackets, *conjuncts))).unwrap();
        assert!(deepest > 20, "{deepest}");
        on_a_default_stack(body(good, brackets, deepest)).unwrap();
        let faults = on_a_default_stack(body(bad, brackets, deepest)).unwrap_err();
        assert!(faults[0].reason.contains("tea"), "{faults:?}");
    }
    let members = |count: usize| body(&format!("principal.tea{}", ".a".repeat(count)), 0, 0);
    let deepest = (0..100).rev().find(|count| !too_deep(members(*count))).unwrap();
    assert!(on_a_default_stack(members(deepest)).unwrap_err()[0].reason.contains("tea"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_makes_validation_panic(text in "\\PC{0,200}") {
        let _ = validate(&text, &Tier::Domain);
    }

    #[test]
    fn no_alteration_of_a_policy_makes_validation_panic(
        example in 0..EXAMPLES.len(), at in any::<prop::sample::Index>(), cut in 0_usize..4, insert in "[ -~]{0,3}",
    ) {
        let text = EXAMPLES[example];
        let start = at.index(text.len());
        let altered = format!("{}{insert}{}", &text[..start], &text[(start + cut).min(text.len())..]);
        for tier in [Tier::Domain, Tier::Namespace("payments".parse().unwrap())] {
            if let Err(error) = validate(&altered, &tier) {
                prop_assert!(error.faults().iter().all(|fault| fault.at.starts_with("line ")), "{error}");
            }
        }
    }
}

#[test]
fn the_examples_of_the_authors_guide_are_valid() {
    let guide = include_str!("../../../docs/policy.md");
    let examples: Vec<&str> = guide.split("```cedar\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(examples.len() >= 4);
    for text in examples {
        if let Err(error) = validate(text, &Tier::Domain) {
            panic!("{error}\n{text}");
        }
    }
    let commands: Vec<&str> = guide.lines().filter_map(|line| line.strip_prefix("burgrave policy ")).collect();
    assert!(commands.len() >= 5);
    for command in commands {
        let (effect, words) = command.split_once(' ').unwrap();
        SimpleRule::parse(effect.parse().unwrap(), words).unwrap();
    }
}
