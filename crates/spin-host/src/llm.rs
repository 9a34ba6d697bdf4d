//! `fermyon:spin/llm`: there is no model, which each call says.

use wasmtime::component::Linker;

use crate::{Interfaces, View};

crate::bindings! { v1
    inline: r#"
        package fermyon:spin;
        interface llm {
            type inferencing-model = string;
            type embedding-model = string;
            record inferencing-params {
                max-tokens: u32,
                repeat-penalty: f32,
                repeat-penalty-last-n-token-count: u32,
                temperature: f32,
                top-k: u32,
                top-p: f32,
            }
            variant error { model-not-supported, runtime-error(string), invalid-input(string) }
            record inferencing-usage { prompt-token-count: u32, generated-token-count: u32 }
            record inferencing-result { text: string, usage: inferencing-usage }
            record embeddings-usage { prompt-token-count: u32 }
            record embeddings-result { embeddings: list<list<f32>>, usage: embeddings-usage }
            infer: func(model: inferencing-model, prompt: string, params: option<inferencing-params>)
                -> result<inferencing-result, error>;
            generate-embeddings: func(model: embedding-model, text: list<string>)
                -> result<embeddings-result, error>;
        }
        world imports { import llm; }
    "#,
}

crate::bindings! { v2
    inline: r#"
        package fermyon:spin@2.0.0;
        interface llm {
            type inferencing-model = string;
            type embedding-model = string;
            record inferencing-params {
                max-tokens: u32,
                repeat-penalty: f32,
                repeat-penalty-last-n-token-count: u32,
                temperature: f32,
                top-k: u32,
                top-p: f32,
            }
            variant error { model-not-supported, runtime-error(string), invalid-input(string) }
            record inferencing-usage { prompt-token-count: u32, generated-token-count: u32 }
            record inferencing-result { text: string, usage: inferencing-usage }
            record embeddings-usage { prompt-token-count: u32 }
            record embeddings-result { embeddings: list<list<f32>>, usage: embeddings-usage }
            infer: func(model: inferencing-model, prompt: string, params: option<inferencing-params>)
                -> result<inferencing-result, error>;
            generate-embeddings: func(model: embedding-model, text: list<string>)
                -> result<embeddings-result, error>;
        }
        world imports { import llm; }
    "#,
}

/// Adds those that a component imports.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    imports: &dyn Fn(&str) -> bool,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    if imports("fermyon:spin/llm") {
        v1::fermyon::spin::llm::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    if imports("fermyon:spin/llm@2") {
        v2::fermyon::spin::llm::add_to_linker::<_, Interfaces>(linker, view)?;
    }
    Ok(())
}

impl View<'_> {
    fn log_model(&self, model: &str) {
        (self.host.config.log)(&format!(
            "component {:?} asked for the AI model {model:?}, and Medley has none",
            self.host.config.id
        ));
    }
}

/// The calls of one version, all of which fail.
macro_rules! refuse {
    ($llm:path) => {
        const _: () = {
            use $llm as llm;

            impl llm::Host for View<'_> {
                fn infer(
                    &mut self,
                    model: String,
                    _: String,
                    _: Option<llm::InferencingParams>,
                ) -> Result<llm::InferencingResult, llm::Error> {
                    self.log_model(&model);
                    Err(llm::Error::ModelNotSupported)
                }

                fn generate_embeddings(
                    &mut self,
                    model: String,
                    _: Vec<String>,
                ) -> Result<llm::EmbeddingsResult, llm::Error> {
                    self.log_model(&model);
                    Err(llm::Error::ModelNotSupported)
                }
            }
        };
    };
}

refuse!(v1::fermyon::spin::llm);
refuse!(v2::fermyon::spin::llm);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use wasmtime::component::ResourceTable;

    use super::v2::fermyon::spin::llm::{Error, Host as _};
    use crate::component::tests::config;
    use crate::{Host, View};

    #[test]
    fn a_model_is_refused_by_name() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = lines.clone();
        let mut config = config("web");
        config.log = Arc::new(move |line| written.lock().unwrap().push(line.to_owned()));
        let host = Host::new(&[]).unwrap().component(config).unwrap();
        let mut view = View {
            host: &host,
            table: &mut ResourceTable::new(),
        };
        let reply = view.infer("llama2-chat".into(), "hello".into(), None);
        assert!(matches!(reply, Err(Error::ModelNotSupported)));
        let line = "component \"web\" asked for the AI model \"llama2-chat\", and Medley has none";
        assert_eq!(*lines.lock().unwrap(), [line]);
    }
}
