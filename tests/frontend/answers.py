"""Settings that make answers as short or as long as a test needs them."""

from damso.type.v1.sampling_pb2 import Choices, SamplingParams
from frontend.conversation import Sampling, Settings

SHORT = Settings(sampling=Sampling(temperature=0, max_tokens=12))

# The page has no switch for `ignore_eos`; it keeps what other clients have set.
LONG = Settings(
    sampling=Sampling(
        temperature=0,
        max_tokens=1500,
        unshown=SamplingParams(ignore_eos=True).SerializeToString(),
    )
)


def exactly(text: str) -> Settings:
    """Settings under which every answer is this text."""
    only = SamplingParams(choices=Choices(choices=[text]))
    return Settings(sampling=Sampling(temperature=0, unshown=only.SerializeToString()))
