"""What every part of a page is given."""

from collections.abc import Callable
from dataclasses import dataclass

from frontend import errors, state
from frontend.conversation import Conversation, Failure, Settings
from frontend.errors import GatewayError
from frontend.gateway import Gateway
from frontend.models import Model
from frontend.settings import Settings as FrontendSettings
from frontend.state import Session
from frontend.texts import Texts


@dataclass(frozen=True)
class Page:
    """One run of a page."""

    gateway: Gateway
    texts: Texts
    session: Session
    settings: FrontendSettings

    def attempt(self, action: Callable[[], object]) -> bool:
        """Does what a click asked for; what goes wrong is told on the page. Gives success."""
        self.session.notice = None
        try:
            action()
        except GatewayError as error:
            self.session.notice = error.failure
            return False
        return True

    def sentence(self, failure: Failure) -> str:
        """What to tell the person about a failure."""
        return errors.sentence(failure, self.texts)


@dataclass(frozen=True)
class Chat:
    """The conversation that the page shows, and the models that can answer in it."""

    conversation: Conversation | None
    """None: it has not begun."""
    models: tuple[Model, ...]

    @property
    def id(self) -> str:
        """The conversation's id; empty where it has not begun."""
        return self.conversation.id if self.conversation else ""

    def settings(self) -> Settings:
        """What answers are made with."""
        return self.conversation.settings if self.conversation else state.session().draft
