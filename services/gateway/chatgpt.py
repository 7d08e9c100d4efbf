"""Reads conversations of ChatGPT's `conversations.json`.

`mapping` holds nodes by id, of which some are the system's, a tool's or empty: the tree is closed
over them.
"""

from datetime import UTC, datetime
from uuid import uuid4

from services.gateway.archive import Archived, Node, Tree, content_of, model_of
from services.gateway.conversations import ChatSettings, Message, Role, State
from services.gateway.json_reading import Value


def read(value: Value) -> Archived:
    """One conversation.

    Raises:
        ImportInvalid: Something in it cannot be kept.
    """
    tree = Tree(
        title=value["title"],
        settings=ChatSettings(),
        current=value["current_node"],
        create_time=value["create_time"].time(),
        update_time=value["update_time"].time(),
    )
    mapping = value["mapping"]
    for key in mapping.names():
        node = mapping[key]
        tree.nodes[key] = Node(node["parent"], _message(node["message"], tree))
    return tree.archived()


def _message(value: Value, tree: Tree) -> Message | None:
    role = value["author"]["role"].it
    parts = value["content"]["parts"]
    if role not in list(Role) or not isinstance(parts.it, list):
        return None
    # Other parts are images and the like.
    texts = [part.text() for part in parts.items() if isinstance(part.it, str)]
    content = content_of("\n".join(texts), parts.path)
    if not content.strip():
        return None
    return Message(
        id=uuid4(),
        conversation_id=tree.conversation_id,
        parent_id=None,
        role=Role(str(role)),
        content=content,
        state=State.COMPLETE,
        create_time=value["create_time"].time() or datetime.now(UTC),
        model=model_of(value["metadata"]["model_slug"]),
    )
