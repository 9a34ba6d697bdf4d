//! The application's variables and their values.
//!
//! A value comes from the container's environment, `SPIN_VARIABLE_` and the name in upper case, or is the
//! variable's default. A variable without a default must be given one.

use std::collections::BTreeMap;

use crate::app::Variable;
use crate::template::Template;
use crate::{Error, names};

/// What stands before a variable's name in the environment.
pub const ENV_PREFIX: &str = "SPIN_VARIABLE_";

/// The values of all variables of one application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values(BTreeMap<String, String>);

impl Values {
    /// Finds a value for each variable.
    ///
    /// # Errors
    /// [`Error::NoValue`] with the first variable that has none.
    pub fn new<'a>(
        variables: &BTreeMap<String, Variable>,
        env: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Self, Error> {
        let values = variables.iter().map(|(name, variable)| {
            let key = env_name(name);
            let value = env(&key).or(variable.default.as_deref());
            let value = value.ok_or_else(|| Error::NoValue {
                name: name.clone(),
                env: key.clone(),
            })?;
            Ok((name.clone(), value.to_owned()))
        });
        values.collect::<Result<_, Error>>().map(Self)
    }

    /// Fills a template in.
    ///
    /// # Errors
    /// [`Error::Template`] if it names a variable that the application does not have.
    pub fn fill(&self, template: &Template) -> Result<String, Error> {
        template.fill(|name| {
            self.0
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| Error::Template {
                    template: template.to_string(),
                    reason: format!("the application has no variable {name:?}"),
                })
        })
    }
}

/// The environment variable that gives the variable `name` its value.
#[must_use]
pub fn env_name(name: &str) -> String {
    format!("{ENV_PREFIX}{}", name.to_ascii_uppercase())
}

/// Reads a component's variables: each name, and the template that gives its value.
pub(crate) fn of_component(
    variables: BTreeMap<String, String>,
) -> Result<BTreeMap<String, Template>, Error> {
    let read = variables.into_iter().map(|(name, value)| {
        names::variable(&name)?;
        Ok((name, Template::parse(&value)?))
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::Values;
    use crate::app::Variable;
    use crate::template::Template;

    fn variables() -> BTreeMap<String, Variable> {
        let variable = |default: Option<&str>| Variable {
            default: default.map(str::to_owned),
            secret: false,
        };
        BTreeMap::from([
            ("api_host".to_owned(), variable(Some("example.com"))),
            ("token".to_owned(), variable(None)),
        ])
    }

    #[test]
    fn the_environment_comes_before_the_default() {
        let env = BTreeMap::from([
            ("SPIN_VARIABLE_TOKEN", "t"),
            ("SPIN_VARIABLE_API_HOST", "other.example"),
        ]);
        let values = Values::new(&variables(), |name| env.get(name).copied()).unwrap();
        let template = Template::parse("https://{{ api_host }}/{{ token }}").unwrap();
        assert_eq!(values.fill(&template).unwrap(), "https://other.example/t");
    }

    #[test]
    fn a_variable_without_a_value_says_how_to_give_one() {
        let error = Values::new(&variables(), |_| None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the variable \"token\" has no value: set SPIN_VARIABLE_TOKEN in the container's \
             environment, or give it a default"
        );
    }

    #[test]
    fn a_template_names_variables_that_there_are() {
        let values = Values::default();
        let error = values
            .fill(&Template::parse("{{ x }}").unwrap())
            .unwrap_err();
        assert!(error.to_string().contains("no variable \"x\""), "{error}");
    }
}
