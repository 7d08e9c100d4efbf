import pytest

from services.gateway.models import (
    Model,
    ModelLoading,
    Models,
    ModelState,
    ModelUnknown,
    ModelUnreachable,
)


class Listing:
    """Plain values for `Models`, which knows no service: what one address would list."""

    def __init__(self, *names: str) -> None:
        self.models: list[Model] = [self.model(name) for name in names]
        self.asked = 0

    @staticmethod
    def model(name: str, state: ModelState = ModelState.READY, **fields) -> Model:
        return Model(name, name, state, 2048, **fields)

    async def list_models(self) -> list[Model]:
        self.asked += 1
        if not self.models:
            raise ModelUnreachable("nobody answers")
        return self.models


async def test_a_model_is_found_where_it_is_served():
    one, other = Listing("a", "a-adapter"), Listing("b")
    models = Models({"1": one.list_models, "2": other.list_models})
    assert (await models.ready("a-adapter")).address == "1"
    assert (await models.ready("b")).address == "2"
    assert (await models.ready("")).model.name == "a"
    assert (one.asked, other.asked) == (1, 1)


async def test_the_default_model_is_the_first_backends_or_nobodys():
    models = Models({"1": Listing().list_models, "2": Listing("b").list_models})
    with pytest.raises(ModelUnreachable):
        await models.ready("")


async def test_a_name_is_unknown_only_when_every_backend_has_answered():
    models = Models({"1": Listing("a").list_models})
    with pytest.raises(ModelUnknown):
        await models.ready("b")
    models = Models({"1": Listing("a").list_models, "2": Listing().list_models})
    with pytest.raises(ModelUnreachable):
        await models.ready("b")


async def test_a_loading_model_says_how_far_it_is():
    listing = Listing()
    listing.models = [
        Listing.model(
            "a", ModelState.LOADING, phase="importing", progress=0.25, remaining_seconds=30.0
        )
    ]
    models = Models({"1": listing.list_models})
    with pytest.raises(ModelLoading) as caught:
        await models.ready("a")
    assert caught.value.metadata["phase"] == "importing"
    assert caught.value.metadata["progress"] == "0.25"
    assert caught.value.metadata["remaining_seconds"] == "30.0"
    assert caught.value.retry_after_seconds == 10


async def test_a_model_whose_engine_is_dead_is_unreachable():
    listing = Listing()
    listing.models = [Listing.model("a", ModelState.FAILED)]
    with pytest.raises(ModelUnreachable):
        await Models({"1": listing.list_models}).ready("a")


async def test_a_backend_that_was_not_as_described_is_asked_again():
    listing = Listing("a")
    models = Models({"1": listing.list_models})
    await models.ready("a")
    listing.models = [Listing.model("a", ModelState.LOADING)]
    assert (await models.ready("a")).model.state is ModelState.READY
    models.doubt()
    with pytest.raises(ModelLoading):
        await models.ready("a")
