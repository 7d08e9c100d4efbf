"""What the README tells a new user to type does what it says."""

import os
import re
import subprocess
import sys

from tests.conftest import REPOSITORY, Platform

README = (REPOSITORY / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def run(command: list[str], platform: Platform) -> str:
    """Runs a README's block, against the test's platform instead of the default ports."""
    adapted = [word.replace("localhost:50050", platform.gateway_address) for word in command]
    ended = subprocess.run(
        adapted, cwd=REPOSITORY, env=os.environ, capture_output=True, text=True, timeout=180
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def test_the_python_example_prints_an_answer(platform):
    [example] = blocks("python")
    assert len(run([sys.executable, "-c", example], platform).split()) > 3


def test_the_grpcurl_examples_answer(platform):
    [example] = [block for block in blocks("sh") if "grpcurl" in block]
    tokenizer, generation = re.findall(
        r"\S+grpcurl.*?(?:TokenizerService|GenerationService)/\w+", example, re.DOTALL
    )
    encoded = run(["bash", "-c", tokenizer], platform)
    assert '"token_ids"' in encoded and '"start_bytes"' in encoded
    generated = run(["bash", "-c", generation], platform)
    assert "Paris" in generated and '"finished"' in generated


def test_every_make_target_in_the_readme_exists():
    targets = set(re.findall(r"`?make ([a-z-]+)", README))
    makefile = (REPOSITORY / "Makefile").read_text()
    missing = [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)]
    assert targets and not missing


def test_every_relative_link_in_the_docs_leads_somewhere():
    broken = []
    for page in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
            if not target.startswith("http") and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken
