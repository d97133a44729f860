//! How an application is told of its deployment.

use convoke_core::Error;

use crate::app::App;
#[cfg(not(feature = "config"))]
use crate::app::CONFIG_VARIABLE;

impl App {
    /// Takes what the environment says of this deployment: the broker's URL (`CONVOKE_BROKER`), a configuration file
    /// (`CONVOKE_CONFIG`, with the feature `config`), and new names of topics and groups (`CONVOKE_TOPICS`, `CONVOKE_GROUPS`).
    ///
    /// A variable counts more than a file, and a file more than the program, in whichever order they are named. A variable that is
    /// not there says nothing.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUrl`](convoke_core::ErrorKind::InvalidUrl) if the broker's variable holds no URL;
    /// [`ErrorKind::Configuration`](convoke_core::ErrorKind::Configuration) if a variable is not text, or if a file is named and the
    /// feature `config` is off. Whatever else is wrong, [`App::build`] says.
    pub fn from_env(mut self) -> Result<Self, Error> {
        let (variables, file) = super::from_env()?;
        if let Some(path) = file {
            #[cfg(feature = "config")]
            crate::config::read_file(path.as_ref(), &mut self.environment);
            #[cfg(not(feature = "config"))]
            {
                let text = format!(
                    "{CONFIG_VARIABLE} names a configuration file (`{path}`), and this program cannot read one; add the feature: \
                     `cargo add convoke --features config`"
                );
                return Err(Error::new(convoke_core::ErrorKind::Configuration, text));
            }
        }
        self.environment.overlay(variables);
        Ok(self)
    }

    /// Reads a configuration file: new names of topics and groups, options of handlers, bounds, and brokers' URLs.
    ///
    /// Of several files the later one counts more. What is wrong with a file, a file that is not there included, [`App::build`] says,
    /// with file, line and column.
    #[cfg(feature = "config")]
    pub fn config_file(mut self, path: impl AsRef<std::path::Path>) -> Self {
        crate::config::read_file(path.as_ref(), &mut self.file);
        self
    }

    /// Reads a configuration that is not in a file of its own, as [`App::config_file`] does.
    ///
    /// # Examples
    /// ```
    /// # async fn example() -> Result<(), convoke_core::Error> {
    /// use convoke_runtime::App;
    ///
    /// let app = App::new("shop").config_str("[handlers.reserve]\nconcurency = 32");
    /// let error = app.build().await.unwrap_err().to_string();
    /// assert!(error.contains("configuration:2:1: `handlers.reserve` has no key `concurency`; did you mean `concurrency`?"));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "config")]
    pub fn config_str(mut self, text: &str) -> Self {
        crate::config::read_text("configuration", text, &mut self.file);
        self
    }
}
