//! x
fn main() {
    let mut s = String::new();
    std::io::Read::read_to_string(&mut std::io::stdin(), &mut s).unwrap();
    for l in s.lines() {
        let v = ops_core::guard::Policy::app().judge(l);
        for st in &v.statements {
            println!(
                "{:?} {:?} {} | {}",
                st.decision,
                st.rule,
                st.effects.iter().map(|e| e.to_string()).collect::<Vec<_>>().join(" "),
                &l[..l.len().min(100)]
            );
        }
    }
}
