//! What the formats share in which a message is a list of blocks, and only `user` and `assistant` take turns: Anthropic's
//! and Bedrock's. Input: a conversation, and how one message becomes blocks; output: the list of turns; counts of tokens.

use serde_json::{Value, json};

use super::answer::count;
use crate::model::{ChatRequest, Message, Role, Usage};

/// The messages, neighbours of one role joined: results of tools are blocks of the user's message. `text`: a block of text.
pub(super) fn turns(request: &ChatRequest, blocks: fn(&Message) -> Vec<Value>, text: fn(&str) -> Value) -> Value {
    let mut out: Vec<(&str, Vec<Value>)> = Vec::new();
    for message in request.messages.iter().filter(|message| message.role != Role::System) {
        let role = if message.role == Role::Assistant { "assistant" } else { "user" };
        let blocks = blocks(message);
        match out.last_mut() {
            Some((last, all)) if *last == role => all.extend(blocks),
            _ => out.push((role, blocks)),
        }
    }
    // An empty message is refused; one without words stands for it.
    out.into_iter()
        .map(|(role, blocks)| {
            let blocks = if blocks.is_empty() { vec![text("(no answer)")] } else { blocks };
            json!({ "role": role, "content": blocks })
        })
        .collect()
}

/// Names under which tokens are reported.
pub(super) struct UsageNames {
    /// Of the prompt, neither read from the cache nor written to it.
    pub(super) fresh: &'static str,
    /// Of the prompt, written to the cache.
    pub(super) written: &'static str,
    /// Of the prompt, read from the cache.
    pub(super) read: &'static str,
    /// Of the reply.
    pub(super) completion: &'static str,
}

/// Usage whose prompt tokens are reported in three parts.
pub(super) fn usage(usage: &Value, names: &UsageNames) -> Option<Usage> {
    let part = |name: &str| count(usage, &format!("/{name}"));
    let cached = part(names.read).unwrap_or(0);
    Some(Usage {
        prompt: part(names.fresh)?.saturating_add(part(names.written).unwrap_or(0)).saturating_add(cached),
        completion: part(names.completion)?,
        cached,
        reasoning: 0,
        estimated: false,
    })
}
