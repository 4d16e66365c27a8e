//! Conversations for servers without tool calling.
//!
//! Input: a request with tools; output: one without, in which they are described, called and answered in the text. That
//! text exists in the request only: the conversation itself is never changed.

use crate::model::{ChatRequest, Message, Role, dialect};

/// The request for a server that knows no tools: descriptions in the system message, results as user messages, and
/// `described` in the place of the tools. Neighbours of one role are joined, since many chat templates insist on turns.
pub(crate) fn without_tools(request: &ChatRequest, described: &str) -> ChatRequest {
    let mut out: Vec<Message> = Vec::new();
    if !described.is_empty() && request.messages.first().is_none_or(|first| first.role != Role::System) {
        out.push(Message::new(Role::System, described));
    }
    for (index, message) in request.messages.iter().enumerate() {
        let mut next = match message.role {
            Role::Tool => Message::new(Role::User, dialect::describe_result(&message.content)),
            Role::Assistant => Message::new(Role::Assistant, assistant_text(message)),
            role => Message::new(role, message.content.as_str()),
        };
        if index == 0 && next.role == Role::System && !described.is_empty() {
            next.content = format!("{}\n\n{described}", next.content);
        }
        match out.last_mut() {
            Some(last) if last.role == next.role => last.content = format!("{}\n\n{}", last.content, next.content),
            _ => out.push(next),
        }
    }
    ChatRequest { messages: out, tools: Vec::new(), ..request.clone() }
}

/// What the assistant said. Calls that were found in its text are still there; others are written out.
fn assistant_text(message: &Message) -> String {
    if !message.content.is_empty() {
        return message.content.clone();
    }
    message.tool_calls.iter().map(|call| dialect::write_call(&call.name, &call.arguments_text())).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::super::fixture::conversation;
    use super::*;

    fn described(request: &ChatRequest) -> ChatRequest {
        without_tools(request, &dialect::describe(&request.tools, request.tool_choice))
    }

    #[test]
    fn servers_without_tools_get_text_and_the_conversation_stays_as_it_was() {
        let mut request = conversation();
        request.messages.push(Message::new(Role::User, "go on"));
        let before = request.clone();
        let sent = described(&request);
        assert_eq!(request.messages, before.messages);
        assert!(sent.tools.is_empty());
        let roles: Vec<_> = sent.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::System, Role::User, Role::Assistant, Role::User]);
        let system = &sent.messages[0].content;
        assert!(system.starts_with("be good") && system.contains("probe") && system.contains("cmds"), "{system}");
        assert!(sent.messages[2].content.contains("Action: probe"));
        let result = &sent.messages[3].content;
        assert!(result.contains("three pods") && result.ends_with("go on"), "{result}");
    }

    #[test]
    fn descriptions_get_a_system_message_of_their_own_where_there_is_none() {
        let mut request = conversation();
        request.messages.remove(0);
        let sent = described(&request);
        assert_eq!(sent.messages[0].role, Role::System);
        assert_eq!(sent.messages[1].content, "repair");
    }
}
