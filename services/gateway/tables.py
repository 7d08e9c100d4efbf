"""The tables of schema `gateway`, as the queries see them; `migrations/` makes them."""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    FetchedValue,
    Identity,
    MetaData,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData(schema="gateway")

Time = DateTime(timezone=True)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("title", Text, nullable=False),
    Column("settings", JSONB, nullable=False),
    Column("current_message_id", Uuid),
    Column("create_time", Time, FetchedValue(), nullable=False),
    Column("update_time", Time, FetchedValue(), nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("number", BigInteger, Identity(always=True), nullable=False),
    Column("conversation_id", Uuid, nullable=False),
    Column("parent_id", Uuid),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("create_time", Time, FetchedValue(), nullable=False),
    Column("model", Text, FetchedValue(), nullable=False),
    Column("finish_reason", Text),
    Column("usage", JSONB(none_as_null=True)),
    Column("failure", JSONB(none_as_null=True)),
    Column("owner", BigInteger),
    Column("request_id", Text),
)

feedback = Table(
    "feedback",
    metadata,
    Column("message_id", Uuid, primary_key=True),
    Column("conversation_id", Uuid, nullable=False),
    Column("rating", Text),
    Column("reasons", ARRAY(Text, as_tuple=True), nullable=False),
    Column("comment", Text, nullable=False),
    Column("edited_content", Text, nullable=False),
    Column("update_time", Time, FetchedValue(), nullable=False),
)
