//! The id of a request: drawn once, before anything is read of it, so that answer, error, log and audit tell the same one.

tokio::task_local! {
    static CURRENT: String;
}

/// Answers a request under an id of its own.
pub(crate) async fn during<T>(id: String, answering: impl Future<Output = T>) -> T {
    CURRENT.scope(id, answering).await
}

/// The id of the request that is answered; a new one where there is none.
pub(crate) fn current() -> String {
    CURRENT.try_with(Clone::clone).unwrap_or_else(|_| drawn())
}

/// A random UUID, upper-case.
pub(crate) fn drawn() -> String {
    const VERSION_4: u128 = 4 << 76;
    const VARIANT: u128 = 2 << 62;
    let id = random() & !(15 << 76) & !(3 << 62) | VERSION_4 | VARIANT;
    let hex = format!("{id:032X}");
    let part = |range| hex.get(range).unwrap_or_default();
    format!("{}-{}-{}-{}-{}", part(0..8), part(8..12), part(12..16), part(16..20), part(20..32))
}

/// Ids name answers and guard nothing: without randomness they are all alike, and calls still answered.
pub(crate) fn random() -> u128 {
    let mut bytes = [0; 16];
    let _ = getrandom::fill(&mut bytes);
    u128::from_be_bytes(bytes)
}
