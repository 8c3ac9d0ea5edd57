use proptest::prelude::*;
use rstest::rstest;

use super::*;

/// The example of the specification's reference libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const AT: i64 = 1_614_265_330;
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("in range")
}

fn secrets(text: &str) -> Secrets {
    Secrets::parse(text).expect("valid")
}

/// Verifies the example with one thing changed.
fn verify(timestamp: &str, signatures: &str, now: i64) -> Result<(), VerifyError> {
    secrets(SECRET).verify(ID, timestamp, signatures, BODY, at(now))
}

#[test]
fn the_signature_is_that_of_the_specification() {
    assert_eq!(secrets(SECRET).sign(ID, at(AT), BODY), SIGNATURE);
    assert_eq!(verify("1614265330", SIGNATURE, AT), Ok(()));
}

#[test]
fn each_secret_makes_a_signature() {
    let secrets = secrets("whsec_AAAA\n\nwhsec_BBBB\n");
    assert_eq!(secrets.sign("id", Timestamp::UNIX_EPOCH, b"{}").split(' ').count(), 2);
}

/// The three steps of a rotation: the receiver adds the new secret, the sender replaces the old one, the receiver removes it; or the sender
/// first signs with both.
#[rstest]
#[case::receiver_has_both("whsec_AAAA", "whsec_BBBB\nwhsec_AAAA", Ok(()))]
#[case::sender_has_both("whsec_AAAA\nwhsec_BBBB", "whsec_BBBB", Ok(()))]
#[case::both_have_both("whsec_AAAA\nwhsec_BBBB", "whsec_BBBB\nwhsec_AAAA", Ok(()))]
#[case::neither_has_that_of_the_other("whsec_AAAA\nwhsec_CCCC", "whsec_BBBB\nwhsec_DDDD", Err(VerifyError::Mismatch))]
fn one_secret_in_common_is_enough(
    #[case] sender: &str,
    #[case] receiver: &str,
    #[case] expected: Result<(), VerifyError>,
) {
    let signatures = secrets(sender).sign(ID, at(AT), BODY);
    assert_eq!(secrets(receiver).verify(ID, &AT.to_string(), &signatures, BODY, at(AT)), expected);
}

#[rstest]
#[case::now(0, Ok(()))]
#[case::as_old_as_is_accepted(300, Ok(()))]
#[case::too_old(301, Err(VerifyError::TooOld(301)))]
#[case::as_new_as_is_accepted(-300, Ok(()))]
#[case::too_new(-301, Err(VerifyError::TooNew(301)))]
fn the_timestamp_is_within_five_minutes(#[case] age: i64, #[case] expected: Result<(), VerifyError>) {
    assert_eq!(verify("1614265330", SIGNATURE, AT + age), expected);
}

#[rstest]
#[case("")]
#[case("soon")]
#[case("+1614265330")]
#[case("-1614265330")]
#[case("1614265330.0")]
#[case(" 1614265330")]
#[case("99999999999999999999999")]
#[case("9223372036854775807")]
fn a_timestamp_is_a_number_of_seconds(#[case] timestamp: &str) {
    assert_eq!(verify(timestamp, SIGNATURE, AT), Err(VerifyError::Timestamp));
}

#[rstest]
#[case::none("", Err(VerifyError::NoSignature))]
#[case::without_a_version("g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", Err(VerifyError::NoSignature))]
#[case::another_version("v1a,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", Err(VerifyError::NoSignature))]
#[case::empty("v1,", Err(VerifyError::Mismatch))]
#[case::not_base64("v1,?", Err(VerifyError::Mismatch))]
#[case::cut("v1,g0hM9SsE+OTPJTGt", Err(VerifyError::Mismatch))]
#[case::among_others("v1a,AAAA v1,AAAA  v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", Ok(()))]
fn one_of_several_signatures_has_to_match(#[case] signatures: &str, #[case] expected: Result<(), VerifyError>) {
    assert_eq!(verify("1614265330", signatures, AT), expected);
}

#[rstest]
#[case::id("msg_other", AT, BODY)]
#[case::timestamp(ID, AT + 1, BODY)]
#[case::body(ID, AT, br#"{"test": 2432232315}"#)]
#[case::longer_body(ID, AT, br#"{"test": 2432232314} "#)]
fn what_is_signed_cannot_be_changed(#[case] id: &str, #[case] second: i64, #[case] body: &[u8]) {
    let verified = secrets(SECRET).verify(id, &second.to_string(), SIGNATURE, body, at(AT));
    assert_eq!(verified, Err(VerifyError::Mismatch));
}

#[rstest]
#[case("", SecretsError::Empty)]
#[case("\n \n", SecretsError::Empty)]
#[case("secret", SecretsError::Line(1))]
#[case("whsec_AAAA\nwhsec_?", SecretsError::Line(2))]
#[case("whsec_", SecretsError::Line(1))]
fn an_invalid_secret_file_is_rejected(#[case] text: &str, #[case] error: SecretsError) {
    assert_eq!(Secrets::parse(text).expect_err("no secret"), error);
}

#[test]
fn debug_output_does_not_show_the_secret() {
    assert_eq!(format!("{:?}", secrets("whsec_AAAA")), "Secrets(1)");
}

proptest! {
    #[test]
    fn what_is_signed_verifies(id in ".*", second in 0_i64..253_402_207_200, body: Vec<u8>, key in "[A-Za-z0-9]{4}") {
        let secrets = secrets(&format!("whsec_{key}"));
        let signature = secrets.sign(&id, at(second), &body);
        prop_assert_eq!(secrets.verify(&id, &second.to_string(), &signature, &body, at(second)), Ok(()));
    }

    #[test]
    fn foreign_headers_are_errors_and_no_more(timestamp in ".*", signatures in ".*", now in 0_i64..253_402_207_200) {
        prop_assert!(verify(&timestamp, &signatures, now).is_err());
    }
}
