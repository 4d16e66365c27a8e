//! Playbooks that people or other programs have written, handed in as if a model had written them.
//!
//! Input: a folder, and what the executor lets a policy know of the trial; output: for each request the next playbook of
//! that trial, as a call of the tool that takes one. A trial without any file is no result of anybody: it is an error,
//! and can be resumed when the file is there.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::{ChatModel, ChatReply, ChatRequest, Message, ModelError, Playbooks, Role, ToolCall, Usage, dialect};

/// Longest playbook that is read.
const LONGEST: u64 = 1 << 20;

/// A folder of playbooks in the place of a model.
#[derive(Debug)]
pub(super) struct PlaybooksModel {
    folder: Utf8PathBuf,
}

impl PlaybooksModel {
    /// Checks that the folder is there.
    pub(super) fn open(playbooks: &Playbooks) -> Result<Self, ModelError> {
        let folder = Utf8PathBuf::from(&playbooks.folder);
        if folder.is_dir() { Ok(Self { folder }) } else { Err(ModelError::BadSpec(format!("folder: {folder} is no folder"))) }
    }

    fn answer(&self, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let earlier = request.messages.iter().flat_map(|message| &message.tool_calls).count();
        let mut message = Message::new(Role::Assistant, "");
        let tool = dialect::playbook_tool(&request.tools);
        let playbook = match tool {
            Some(_) => self.read(&request.reference, earlier + 1)?,
            None => None,
        };
        match (tool, playbook) {
            (Some(tool), Some(code)) => {
                let arguments = Map::from_iter([(dialect::CODE.to_owned(), Value::String(code))]);
                message.tool_calls.push(ToolCall {
                    id: format!("call-{}", earlier + 1),
                    name: tool.name.clone(),
                    arguments: Ok(arguments),
                });
            }
            _ => "There is no further playbook.".clone_into(&mut message.content),
        }
        let called = !message.tool_calls.is_empty();
        Ok(ChatReply {
            usage: Usage::default(),
            finish_reason: if called { "tool_calls" } else { "stop" }.to_owned(),
            dialect: if called { "native" } else { "none" }.to_owned(),
            retries: Vec::new(),
            took: Duration::ZERO,
            message,
        })
    }

    /// The playbook with a number, from 1. None: there are fewer.
    fn read(&self, reference: &Value, number: usize) -> Result<Option<String>, ModelError> {
        let known = |key: &str| reference.get(key).and_then(Value::as_str).filter(|name| !name.is_empty() && !name.contains(".."));
        let mut stems: Vec<String> = known("trial").map(str::to_owned).into_iter().collect();
        if let (Some(system), Some(fault), Some(target)) = (known("system"), known("fault"), known("target")) {
            stems.extend([format!("{system}/{fault}/{target}"), format!("{fault}/{target}"), fault.to_owned()]);
        }
        for stem in &stems {
            if self.file(stem, 1).is_some() {
                return self.file(stem, number).map(|path| text(&path)).transpose();
            }
        }
        Err(ModelError::NoPlaybook(format!("none of {}.yml is in {}", stems.join(".yml, "), self.folder)))
    }

    fn file(&self, stem: &str, number: usize) -> Option<Utf8PathBuf> {
        let number = if number == 1 { String::new() } else { format!(".{number}") };
        ["yml", "yaml"].iter().map(|extension| self.folder.join(format!("{stem}{number}.{extension}"))).find(|path| path.is_file())
    }
}

fn text(path: &Utf8Path) -> Result<String, ModelError> {
    let failed = |error: std::io::Error| ModelError::NoPlaybook(error.to_string());
    if fs_err::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(ModelError::NoPlaybook(format!("{path} is longer than {} MiB", LONGEST >> 20)));
    }
    fs_err::read_to_string(path).map_err(failed)
}

impl ChatModel for PlaybooksModel {
    fn chat<'a>(&'a self, request: &'a ChatRequest) -> BoxFuture<'a, Result<ChatReply, ModelError>> {
        async move { self.answer(request) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ModelSpec, Servers, ToolSpec, open};
    use serde_json::json;

    fn ask(folder: &str, request: &ChatRequest) -> Result<ChatReply, ModelError> {
        let spec: ModelSpec = toml::from_str(&format!("name = 'people'\n[provider.playbooks]\nfolder = '{folder}'")).unwrap();
        open(&spec, &|_| None, &Servers::default())?.chat(request).now_or_never().unwrap()
    }

    fn request(tools: &[&str]) -> ChatRequest {
        let tool = |parameter: &&str| ToolSpec {
            name: format!("take_{parameter}"),
            description: String::new(),
            parameters: json!({ "type": "object", "properties": { *parameter: { "type": "string" } }, "required": [parameter] }),
        };
        ChatRequest {
            tools: tools.iter().map(tool).collect(),
            reference: json!({ "trial": "ab12", "system": "shop", "fault": "slow", "target": "cart" }),
            ..ChatRequest::default()
        }
    }

    #[test]
    fn the_closest_file_is_handed_in_and_then_the_next_of_its_kind() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().to_str().unwrap();
        let mut request = request(&["cmds", "code"]);
        let error = ask(folder, &request).unwrap_err().to_string();
        assert!(error.contains("ab12.yml, shop/slow/cart.yml, slow/cart.yml, slow.yml"), "{error}");
        fs_err::create_dir_all(dir.path().join("slow")).unwrap();
        for (file, text) in [("slow.yml", "general"), ("slow/cart.yml", "first"), ("slow/cart.2.yaml", "second"), ("slow.2.yml", "no")] {
            fs_err::write(dir.path().join(file), text).unwrap();
        }
        for expected in ["first", "second"] {
            let reply = ask(folder, &request).unwrap();
            let call = &reply.message.tool_calls[0];
            assert_eq!((call.name.as_str(), &call.arguments.as_ref().unwrap()["code"]), ("take_code", &json!(expected)));
            request.messages.push(reply.message);
        }
        assert!(ask(folder, &request).unwrap().message.tool_calls.is_empty());
        fs_err::write(dir.path().join("ab12.yml"), "own").unwrap();
        request.messages.clear();
        assert_eq!(ask(folder, &request).unwrap().message.tool_calls[0].arguments.as_ref().unwrap()["code"], "own");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        assert!(ask("/nowhere/at/all", &request(&["code"])).unwrap_err().to_string().contains("/nowhere/at/all is no folder"));
    }
}
