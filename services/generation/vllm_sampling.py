"""Our sampling parameters as vLLM's."""

from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
from vllm.sampling_params import SamplingParams as VllmSamplingParams

from services.generation.engine import CompletionRequest
from services.generation.sampling import Structure, StructureKind

_HAS_INTERVAL = "stream_interval" in VllmSamplingParams.__struct_fields__
"""Older versions send every step by itself, whatever a request wishes."""


def to_vllm(request: CompletionRequest, max_tokens: int) -> VllmSamplingParams:
    """A request's wishes in vLLM's words.

    Args:
        request: Checked already; vLLM clamps some values silently, so nothing is left to it.
        max_tokens: Most tokens to decode.
    """
    params = request.sampling
    interval = {"stream_interval": request.stream_interval} if _HAS_INTERVAL else {}
    return VllmSamplingParams(
        n=params.n,
        temperature=params.temperature,
        top_p=params.top_p,
        top_k=params.top_k,
        min_p=params.min_p,
        repetition_penalty=params.repetition_penalty,
        presence_penalty=params.presence_penalty,
        frequency_penalty=params.frequency_penalty,
        seed=params.seed,
        max_tokens=max_tokens,
        min_tokens=params.min_tokens,
        stop=list(params.stop),
        stop_token_ids=list(params.stop_token_ids),
        include_stop_str_in_output=params.include_stop_in_text,
        ignore_eos=params.ignore_eos,
        logit_bias=dict(params.logit_bias) or None,
        bad_words=list(params.bad_words),
        skip_special_tokens=params.skip_special_tokens,
        logprobs=params.logprobs,
        prompt_logprobs=params.prompt_logprobs,
        flat_logprobs=True,
        # Stop strings are found in the text, so it is needed even where it is not sent.
        detokenize=request.include_text or bool(params.stop),
        structured_outputs=_structure(params.structure) if params.structure else None,
        output_kind=RequestOutputKind.DELTA,
        skip_reading_prefix_cache=None if request.read_prefix_cache else True,
        skip_clone=True,
        **interval,
    )


def _structure(structure: Structure) -> StructuredOutputsParams:
    match structure.kind:
        case StructureKind.JSON_SCHEMA:
            return StructuredOutputsParams(json=structure.source)
        case StructureKind.REGEX:
            return StructuredOutputsParams(regex=structure.source)
        case StructureKind.CHOICES:
            return StructuredOutputsParams(choice=list(structure.choices))
        case StructureKind.GRAMMAR:
            return StructuredOutputsParams(grammar=structure.source)
        case StructureKind.JSON_OBJECT:
            return StructuredOutputsParams(json_object=True)
