//! A place in a trace of another process, with what travels along with it.

use std::cell::RefCell;
use std::sync::Arc;

use crate::context::TraceContext;

/// What a caller hands over: its place in a trace, and the `tracestate` and `baggage` that the whole trace carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteParent {
    /// The caller's span.
    pub context: TraceContext,
    /// The caller's `tracestate`, handed on as it is.
    pub tracestate: Option<Arc<str>>,
    /// The caller's `baggage`, handed on as it is, and never logged.
    pub baggage: Option<Arc<str>>,
}

thread_local! {
    static NEXT: RefCell<Option<RemoteParent>> = const { RefCell::new(None) };
}

impl From<TraceContext> for RemoteParent {
    fn from(context: TraceContext) -> Self {
        Self { context, tracestate: None, baggage: None }
    }
}

impl RemoteParent {
    pub(crate) fn new(context: TraceContext, tracestate: Option<String>, baggage: Option<String>) -> Self {
        Self { context, tracestate: tracestate.map(Arc::from), baggage: baggage.map(Arc::from) }
    }

    /// Runs `make`; the first span that it opens continues the caller's trace, whatever span is current here.
    ///
    /// ```
    /// use ops_telemetry::{RemoteParent, TraceContext};
    ///
    /// let caller = TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")?;
    /// let request = RemoteParent::from(caller).parent_of(|| tracing::info_span!("request"));
    /// # let _ = request;
    /// # Ok::<(), ops_telemetry::Error>(())
    /// ```
    pub fn parent_of<T>(self, make: impl FnOnce() -> T) -> T {
        /// Puts back what was there before, whether the span was opened or not, also in a panic.
        struct Restore(Option<RemoteParent>);
        impl Drop for Restore {
            fn drop(&mut self) {
                NEXT.with_borrow_mut(|next| *next = self.0.take());
            }
        }
        let _restore = Restore(NEXT.replace(Some(self)));
        make()
    }

    /// Takes the parent that the next span of this thread was promised.
    pub(crate) fn take() -> Option<Self> {
        // Nearly always there is none, and to look costs less than to take.
        let take =
            |next: &RefCell<Option<Self>>| next.try_borrow_mut().ok().filter(|next| next.is_some())?.take();
        NEXT.try_with(take).ok().flatten()
    }
}
