//! Each way to the raw client must not compile. The expected errors stand beside the programs.

#[test]
fn no_way_leads_to_the_raw_client() {
    trybuild::TestCases::new().compile_fail("tests/compile_fail/*.rs");
}
