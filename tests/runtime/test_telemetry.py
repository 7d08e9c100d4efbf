"""services/runtime/telemetry.py: what Prometheus reads from a process."""

import re
import urllib.request

import grpc
import grpc.aio
import pytest
from prometheus_client.parser import text_string_to_metric_families

from damso.tokenizer.v1 import tokenizer_pb2 as pb

SERVICE = "damso.tokenizer.v1.TokenizerService"


def scraped(service) -> dict[str, dict[frozenset, float]]:
    """Value by sample name and labels."""
    with urllib.request.urlopen(service.metrics_url(), timeout=5) as response:
        families = text_string_to_metric_families(response.read().decode())
        samples: dict[str, dict[frozenset, float]] = {}
        for family in families:
            for sample in family.samples:
                samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
        return samples


def labels(**pairs: str) -> frozenset:
    return frozenset(pairs.items())


async def test_calls_are_counted_by_method_and_code_and_timed(stub, service):
    await stub.CountTokens(pb.CountTokensRequest(texts=["fox"]))
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.CountTokens(pb.CountTokensRequest())
    samples = scraped(service)
    handled = samples["damso_rpc_handled_total"]
    for code in ("OK", "INVALID_ARGUMENT"):
        assert handled[labels(service=SERVICE, method="CountTokens", code=code)] >= 1
    timed = samples["damso_rpc_duration_seconds_count"]
    assert timed[labels(service=SERVICE, method="CountTokens")] >= 2
    assert samples["damso_rpc_running"][labels(service=SERVICE, method="CountTokens")] == 0


async def test_tokens_are_counted_by_what_was_done_to_them(stub, service):
    def tokens(kind: str) -> float:
        return scraped(service)["damso_tokenizer_tokens_total"][labels(kind=kind)]

    encoded, decoded = tokens("encoded"), tokens("decoded")
    (count,) = (await stub.CountTokens(pb.CountTokensRequest(texts=["the fox"]))).token_counts
    await stub.Decode(pb.DecodeRequest(sequences=[{"token_ids": [68, 69, 70]}]))
    assert tokens("encoded") - encoded == count
    assert tokens("decoded") - decoded == 3


def test_names_follow_the_house_and_prometheus(service):
    with urllib.request.urlopen(service.metrics_url(), timeout=5) as response:
        families = list(text_string_to_metric_families(response.read().decode()))
    ours = [family for family in families if not re.match("python_|process_", family.name)]
    assert len(ours) >= 4
    for family in ours:
        assert re.fullmatch(r"damso_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation.endswith(".")
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_bytes"))
        for sample in family.samples:
            assert family.type != "counter" or sample.name.endswith(("_total", "_created"))
            assert not {"request_id", "user", "model_id", "trace_id"} & sample.labels.keys()
