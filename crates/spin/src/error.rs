//! Why an application can't be run. Each is one sentence that names the place in the application.

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The manifest is no TOML, or has another shape than Spin's.
    #[error("spin.toml cannot be read: {reason}")]
    Manifest {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// The artifact's config is no JSON, or has another shape than Spin's.
    #[error("the config of the Spin artifact cannot be read: {reason}")]
    Locked {
        /// What the parser says.
        reason: String,
    },
    /// The application is in a format that this version does not know.
    #[error(
        "the application is in Spin's {format} of version {version}, and this version of Medley knows \
         {known}: build it with an older Spin, or upgrade Medley"
    )]
    Newer {
        /// `manifest` or `lock file`.
        format: &'static str,
        /// As it is written there.
        version: String,
        /// The versions that there are.
        known: &'static str,
    },
    /// The application needs something of its host that there is not.
    #[error("the application needs {feature} of its host, which Medley does not have")]
    HostRequirement {
        /// Spin's name for it.
        feature: String,
    },
    /// An id or a name is not one.
    #[error("{what} {name:?} is not a valid name: {reason}")]
    Name {
        /// What it is the name of.
        what: &'static str,
        /// As it is written.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No trigger at all.
    #[error("the application has no trigger: add one, such as [[trigger.http]]")]
    NoTrigger,
    /// A trigger of a kind that there is not.
    #[error("the application has a trigger of type {kind:?}; Medley has \"http\" and \"command\"")]
    UnknownTrigger {
        /// Its type.
        kind: String,
    },
    /// Triggers of both kinds, which one process can't serve.
    #[error(
        "the application has triggers of the types \"http\" and \"command\": make two applications of it"
    )]
    BothTriggers,
    /// More than one command.
    #[error(
        "the application has {count} command triggers, and a container runs one: make as many applications of it"
    )]
    ManyCommands {
        /// How many.
        count: usize,
    },
    /// A setting of a trigger is wrong.
    #[error("the {kind} trigger {id:?} {reason}")]
    Trigger {
        /// Its type.
        kind: String,
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A trigger names a component that there is not.
    #[error(
        "the trigger {trigger:?} names the component {component:?}, and there is none of that id"
    )]
    NoComponent {
        /// The trigger's id.
        trigger: String,
        /// What it names.
        component: String,
    },
    /// Two triggers have the same route.
    #[error(
        "the route {route:?} is given twice, by the triggers {one:?} and {other:?}: only one can answer it"
    )]
    DuplicateRoute {
        /// As it is written.
        route: String,
        /// The id of one of them.
        one: String,
        /// And of the other.
        other: String,
    },
    /// More components than one process runs.
    #[error(
        "the application has {count} components, and at most 64 run in one container: make several applications \
         of it"
    )]
    ManyComponents {
        /// How many.
        count: usize,
    },
    /// More triggers than are looked through.
    #[error("the application has more than 1024 triggers: make several applications of it")]
    ManyTriggers,
    /// Two components have the same id.
    #[error("there are two components of the id {id:?}")]
    DuplicateComponent {
        /// Their id.
        id: String,
    },
    /// A setting of a component is wrong, or not to be had.
    #[error("the component {id:?} {reason}")]
    Component {
        /// Its id.
        id: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A route can't be read.
    #[error("the route {route:?} of {handler} is not valid: {reason}")]
    Route {
        /// As it is written.
        route: String,
        /// The trigger's id.
        handler: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A template can't be read.
    #[error("the value {template:?} is not a valid template: {reason}")]
    Template {
        /// As it is written.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable has no value.
    #[error(
        "the variable {name:?} has no value: set {env} in the container's environment, or give it a default"
    )]
    NoValue {
        /// Its name.
        name: String,
        /// The environment variable that would give one.
        env: String,
    },
    /// A rule for outgoing connections can't be read.
    #[error(
        "{rule:?} in allowed_outbound_hosts of the component {component:?} is not a rule: {reason}"
    )]
    AllowedHost {
        /// The component's id.
        component: String,
        /// As it is written.
        rule: String,
        /// What is wrong with it.
        reason: String,
    },
}
