//! Which handlers take part.

use convoke_core::{HandlerDef, Registry};

use super::App;

impl App {
    /// Adds a handler by hand, beside those of the registry.
    pub fn register(self, handler: &'static HandlerDef) -> Self {
        self.register_all([handler])
    }

    /// Adds handlers by hand, beside those of the registry: generic ones, each with its types, in `handlers![reserve::<Postgres>]`. One
    /// that is there already is not added once more.
    pub fn register_all(mut self, handlers: impl IntoIterator<Item = &'static HandlerDef>) -> Self {
        for handler in handlers {
            if !self.registry.handlers.iter().any(|other| std::ptr::eq(*other, handler)) {
                self.registry.handlers.push(handler);
            }
        }
        self
    }

    /// Uses these handlers, `handlers![reserve, refund]`, and no others, whatever is linked into the program.
    pub fn handlers(mut self, handlers: impl IntoIterator<Item = &'static HandlerDef>) -> Self {
        self.registry.handlers.clear();
        self.register_all(handlers)
    }

    /// Uses this registry in place of everything that is linked into the program.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = registry;
        self
    }

    /// Runs only these handlers; others are not even checked. Topics of events that none of these takes or returns are made when such an
    /// event is first published.
    pub fn only<S: Into<String>>(mut self, handlers: impl IntoIterator<Item = S>) -> Self {
        self.only = Some(handlers.into_iter().map(Into::into).collect());
        self
    }

    /// Refuses to start unless these handlers are there, or this many: a guard against a crate that is not linked.
    ///
    /// # Examples
    /// ```
    /// # use convoke_runtime::App;
    /// # fn app(app: App) -> App {
    /// app.expect_handlers(["reserve", "refund"])
    /// # }
    /// # fn other(app: App) -> App {
    /// app.expect_handlers(12)
    /// # }
    /// ```
    pub fn expect_handlers(self, handlers: impl ExpectedHandlers) -> Self {
        handlers.add_to(self)
    }
}

/// Handlers that are expected: their names, or how many there are. What [`App::expect_handlers`] takes.
pub trait ExpectedHandlers {
    /// Adds the expectation to an application.
    #[doc(hidden)]
    fn add_to(self, app: App) -> App;
}

impl ExpectedHandlers for usize {
    fn add_to(self, mut app: App) -> App {
        app.expected_count = Some(self);
        app
    }
}

impl<S: Into<String>, const N: usize> ExpectedHandlers for [S; N] {
    fn add_to(self, app: App) -> App {
        Vec::from(self).add_to(app)
    }
}

impl<S: Into<String>> ExpectedHandlers for Vec<S> {
    fn add_to(self, mut app: App) -> App {
        app.expected.extend(self.into_iter().map(Into::into));
        app
    }
}
