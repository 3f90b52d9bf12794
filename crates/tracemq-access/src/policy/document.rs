//! Reading a policy document. What it says and we don't do is refused here, by its place: a restriction that is
//! silently dropped is a hole.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::condition::{self, Condition};
use super::{Effect, PolicyError, Statement};

/// JSON with its doubled members still visible.
pub(super) enum Node {
    Text(String),
    Bool(bool),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    Other,
    /// A member that needs not be there, and is not.
    Absent,
}

impl Node {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    fn is_text(&self, expected: &str) -> bool {
        matches!(self, Self::Text(text) if text == expected)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Text(text.to_owned()))
    }
    fn visit_bool<E>(self, is: bool) -> Result<Node, E> {
        Ok(Node::Bool(is))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = seq.next_element()? {
            list.push(node);
        }
        Ok(Node::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

pub(super) fn parse(json: &str) -> Result<Vec<Statement>, PolicyError> {
    if json.len() > PolicyError::DOCUMENT_MAX_BYTES {
        return Err(PolicyError::TooLong);
    }
    let root: Node = serde_json::from_str(json).map_err(|error| PolicyError::Json(error.to_string()))?;
    let [version, statements] = members(root, "", ["Version", "Statement"], 2)?;
    if !version.is_text("1") {
        return Err(PolicyError::at("Version", "must be \"1\""));
    }
    let Node::List(statements) = statements else {
        return Err(PolicyError::at("Statement", "must be a list"));
    };
    if statements.is_empty() {
        return Err(PolicyError::at("Statement", "is empty"));
    }
    let numbered = statements.into_iter().enumerate();
    numbered.map(|(number, node)| statement(node, &format!("Statement[{number}]"))).collect()
}

fn statement(node: Node, path: &str) -> Result<Statement, PolicyError> {
    let [effect, action, resource, condition] = members(node, path, ["Effect", "Action", "Resource", "Condition"], 3)?;
    let effect = if effect.is_text("Allow") {
        Effect::Allow
    } else if effect.is_text("Deny") {
        Effect::Deny
    } else {
        return Err(PolicyError::at(format!("{path}.Effect"), "must be \"Allow\" or \"Deny\""));
    };
    let action_shape = |pattern: &str| pattern == "*" || pattern.contains(':');
    let resource_shape = |pattern: &str| pattern == "*" || pattern.starts_with("acs:");
    Ok(Statement {
        effect,
        actions: patterns(action, &format!("{path}.Action"), action_shape, "must be * or service:operation")?,
        resources: patterns(resource, &format!("{path}.Resource"), resource_shape, "must be * or begin with acs:")?,
        conditions: conditions(condition, &format!("{path}.Condition"))?,
    })
}

/// `{"IpAddress": {"acs:SourceIp": ["192.0.2.0/24"]}}`
fn conditions(node: Node, path: &str) -> Result<Vec<Condition>, PolicyError> {
    if matches!(node, Node::Absent) {
        return Ok(Vec::new());
    }
    let operators = named(node, path)?;
    let mut conditions = Vec::new();
    for (operator, node) in operators {
        let path = format!("{path}.{}", shown(&operator));
        for (key, values) in named(node, &path)? {
            let path = format!("{path}.{}", shown(&key));
            let values = if let Node::List(values) = &values { values } else { std::slice::from_ref(&values) };
            conditions.push(condition::read(&operator, &key, values, &path)?);
        }
    }
    Ok(conditions)
}

/// The members of an object, at least one, none twice.
fn named(node: Node, path: &str) -> Result<Vec<(String, Node)>, PolicyError> {
    let Node::Object(found) = node else { return Err(PolicyError::at(path, "must be an object")) };
    if found.is_empty() {
        return Err(PolicyError::at(path, "is empty"));
    }
    let mut seen = HashSet::new();
    match found.iter().find(|(name, _)| !seen.insert(name)) {
        Some((twice, _)) => Err(PolicyError::at(format!("{path}.{}", shown(twice)), "is there twice")),
        None => Ok(found),
    }
}

/// A name that somebody chose, as it stands in an error.
fn shown(name: &str) -> String {
    name.escape_debug().take(64).collect()
}

/// The members called `names`, the first `needed` of them there, each once, and no others.
fn members<const N: usize>(node: Node, path: &str, names: [&str; N], needed: usize) -> Result<[Node; N], PolicyError> {
    let dot = if path.is_empty() { "" } else { "." };
    let Node::Object(found) = node else {
        return Err(PolicyError::at(if path.is_empty() { "the document" } else { path }, "must be an object"));
    };
    let mut nodes = names.map(|_| None);
    for (name, node) in found {
        let place = || format!("{path}{dot}{}", shown(&name));
        let known = names.iter().position(|known| *known == name);
        let slot =
            known.and_then(|at| nodes.get_mut(at)).ok_or_else(|| PolicyError::at(place(), "is not supported"))?;
        if slot.replace(node).is_some() {
            return Err(PolicyError::at(place(), "is there twice"));
        }
    }
    if let Some((name, _)) = names.iter().zip(&nodes).take(needed).find(|(_, node)| node.is_none()) {
        return Err(PolicyError::at(format!("{path}{dot}{name}"), "is missing"));
    }
    Ok(nodes.map(|node| node.unwrap_or(Node::Absent)))
}

fn patterns(
    node: Node,
    path: &str,
    has_shape: fn(&str) -> bool,
    shape: &'static str,
) -> Result<Vec<String>, PolicyError> {
    let texts = match node {
        Node::Text(text) => vec![Node::Text(text)],
        Node::List(texts) => texts,
        Node::Object(_) | Node::Bool(_) | Node::Other | Node::Absent => {
            return Err(PolicyError::at(path, "must be a text or a list of texts"));
        }
    };
    if texts.is_empty() {
        return Err(PolicyError::at(path, "is empty"));
    }
    let check = |node| match node {
        Node::Text(text) if !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(PolicyError::at(path, "holds a space or a character that is not visible ASCII"))
        }
        Node::Text(text) if !has_shape(&text) => Err(PolicyError::at(path, shape)),
        Node::Text(text) => Ok(text),
        Node::Bool(_) | Node::List(_) | Node::Object(_) | Node::Other | Node::Absent => {
            Err(PolicyError::at(path, "must hold texts only"))
        }
    };
    texts.into_iter().map(check).collect()
}
