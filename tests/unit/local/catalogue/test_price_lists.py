"""Price lists in wheels, as their publishers shape them."""

import json
import re
import subprocess
import sys
import zipfile
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from local.catalogue import price_list_download, price_lists
from local.catalogue.price_lists import GENAI, LITELLM, Listed, ListsError

DAY = date(2026, 11, 27)
PRICING = "https://prices.example/openai"

GENAI_DATA = """
raise SystemExit("this code must never run")
from decimal import Decimal
import datetime
providers: list[Provider] = [
    Provider(
        id='openai',
        pricing_urls=['https://prices.example/all'],
        models=[
            ModelInfo(
                id='gpt-image-2',
                match=ClauseOr(or_=[ClauseEquals(equals='gpt-image-2'), ClauseRegex(regex='^gpt-image-2-\\\\d')]),
                prices=ModelPrice(input_mtok=Decimal('5'), input_image_mtok=Decimal('8'), output_mtok=Decimal('30')),
            ),
            ModelInfo(
                id='gpt-image-1.5',
                match=ClauseEquals(equals='gpt-image-1.5'),
                prices=ModelPrice(output_mtok=Decimal('10'), output_image_mtok=Decimal('32')),
            ),
            ModelInfo(
                id='tiered', match=ClauseEquals(equals='tiered'),
                prices=ModelPrice(input_mtok=TieredPrices(base=Decimal('1'), tiers=[])),
            ),
        ],
    ),
    Provider(
        id='google',
        models=[
            ModelInfo(
                id='gemini-x-image-preview',
                match=ClauseAnd(and_=[
                    ClauseStartsWith(starts_with='gemini-x'), ClauseContains(contains='image'),
                    ClauseEndsWith(ends_with='image'),
                ]),
                price_comments='Deprecated (shut down Oct 2, 2026). See https://prices.example/gemini.',
                prices=[
                    ConditionalPrice(prices=ModelPrice(output_image_mtok=Decimal('10'))),
                    ConditionalPrice(
                        constraint=StartDateConstraint(start_date=datetime.date(2026, 11, 27)),
                        prices=ModelPrice(output_image_mtok=Decimal('20')),
                    ),
                    ConditionalPrice(
                        constraint=StartDateConstraint(start_date=datetime.date(2026, 11, 28)),
                        prices=ModelPrice(output_image_mtok=Decimal('40')),
                    ),
                ],
            ),
        ],
    ),
    Provider(id='anthropic', models=[]),
]
"""


def wheel(folder: Path, name: str, content: str, version: str = "1.2.0") -> Path:
    """A wheel that holds little but a list."""
    path = folder / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(price_lists._MEMBERS[name], content)
    return path


def litellm(folder: Path, models: dict[str, dict[str, Any]], version: str = "1.2.0") -> Path:
    return wheel(folder, LITELLM, json.dumps(models), version)


def one(folder: Path, key: str, **facts: Any) -> Listed:
    litellm(folder, {key: {"mode": "image_generation", **facts}})
    ((found,), _) = price_lists.read(folder, DAY)
    (entry,) = found.entries
    return entry


@pytest.mark.parametrize(
    ("key", "their", "provider", "model"),
    [
        ("gpt-image-2", "openai", "openai", "gpt-image-2"),
        ("gemini/gemini-x", "gemini", "gemini", "gemini-x"),
        ("black_forest_labs/flux-dev", "black_forest_labs", "bfl", "flux-dev"),
        ("recraft/recraftv3", "recraft", "recraft", "recraftv3"),
        ("xai/grok", "xai", "compatible/xai", "grok"),
        ("stability/stable-image-core", "stability", "stability", "core"),
        ("stability/stable-image-ultra", "stability", "stability", "ultra"),
        ("stability/sd3.5-large", "stability", "stability", "sd3.5-large"),
        ("amazon.nova-canvas-v1:0", "bedrock", "bedrock", "amazon.nova-canvas-v1:0"),
    ],
)
def test_the_names_of_a_list_become_ours(tmp_path: Path, key: str, their: str, provider: str, model: str) -> None:
    entry = one(tmp_path, key, litellm_provider=their)
    assert (entry.provider, entry.id, entry.draws) == (provider, model, True)


def test_prices_days_and_sources_become_ours(tmp_path: Path) -> None:
    entry = one(
        tmp_path, "xai/grok", litellm_provider="xai", source=PRICING, deprecation_date="2026-12-01",
        deprecation_source="https://prices.example/ends", successor_model="xai/grok-2", input_cost_per_token=5e-06,
        input_cost_per_image_token=8e-06, output_cost_per_token=1e-05, output_cost_per_image_token=3e-05,
        output_cost_per_image_1K=0.04, output_cost_per_image_2K=0.06, input_cost_per_image=0.9,
        output_cost_per_image="much",
    )  # fmt: skip
    assert entry.prices == {
        "inputText": 5e-06, "inputImage": 8e-06, "outputText": 1e-05, "outputImage": 3e-05, "image": 0.04, "2K": 0.06,
    }  # fmt: skip
    assert (entry.shutdown, entry.replacement) == ("2026-12-01", "grok-2")
    assert (entry.source, entry.shutdown_source) == (PRICING, "https://prices.example/ends")


def test_what_cannot_be_printed_or_is_no_address_is_left_out(tmp_path: Path) -> None:
    entry = one(
        tmp_path, "gpt-x", litellm_provider="openai", source="http://x", deprecation_date="soon", successor_model="\x1b"
    )
    assert (entry.source, entry.shutdown, entry.replacement, entry.prices) == (None, None, None, {})
    litellm(tmp_path, {"gpt\x1b[2J": {"litellm_provider": "openai"}, "512-x-512/gpt-x": {"litellm_provider": "openai"}})
    assert price_lists.read(tmp_path, DAY)[0][0].entries == []


def test_the_list_that_is_python_is_read_and_never_run(tmp_path: Path) -> None:
    wheel(tmp_path, GENAI, GENAI_DATA)
    ((found,), left_out) = price_lists.read(tmp_path, DAY)
    assert (found.name, found.version, found.images) == (GENAI, "1.2.0", 3)
    assert len(left_out) == 1 and left_out[0].startswith("litellm: wheel not found")
    for model in ("gpt-image-2", "GPT-Image-2", "gpt-image-2-2026-04-21"):
        entry = found.find("openai", model)
        assert entry and entry.prices == {"inputText": 5e-06, "inputImage": 8e-06, "outputImage": 3e-05}
        assert entry.source == "https://prices.example/all"
    assert not found.find("openai", "gpt-image-25") and not found.find("gemini", "gpt-image-2")
    both, tiered = found.find("openai", "gpt-image-1.5"), found.find("openai", "tiered")
    assert both and both.prices == {"outputText": 1e-05, "outputImage": 3.2e-05}
    assert tiered and tiered.prices == {}


@pytest.mark.parametrize(("day", "price"), [(26, 1e-05), (27, 2e-05), (28, 4e-05)])
def test_a_price_counts_from_its_day_on(tmp_path: Path, day: int, price: float) -> None:
    wheel(tmp_path, GENAI, GENAI_DATA)
    ((found,), _) = price_lists.read(tmp_path, date(2026, 11, day))
    entry = found.find("gemini", "gemini-x-y-image")
    assert entry and entry.prices == {"outputImage": price}
    assert (entry.shutdown, entry.source) == ("2026-10-02", "https://prices.example/gemini")


def test_the_newest_wheel_counts(tmp_path: Path) -> None:
    for version in ("1.9.0", "1.110.2"):
        litellm(tmp_path, {}, version)
    assert price_lists.read(tmp_path, DAY)[0][0].version == "1.110.2"


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}'])
def test_a_list_that_cannot_be_read_is_named_and_the_other_is_read(tmp_path: Path, content: str) -> None:
    wheel(tmp_path, LITELLM, content)
    wheel(tmp_path, GENAI, GENAI_DATA)
    lists, left_out = price_lists.read(tmp_path, DAY)
    assert [found.name for found in lists] == [GENAI]
    assert left_out[0].startswith("litellm: failed to read litellm-1.2.0-py3-none-any.whl (")


@pytest.mark.parametrize(
    "value", [0, 0.0, -1.0, 1e999, float("nan"), pytest.param(10**400, id="digits"), 100.0, True, "1"]
)
def test_what_cannot_be_a_price_is_none(tmp_path: Path, value: Any) -> None:
    entry = one(tmp_path, "xai/grok", litellm_provider="xai", output_cost_per_image=value, output_cost_per_image_2K=1)
    assert entry.prices == {"2K": 1.0}
    entry = one(tmp_path, "xai/grok", litellm_provider="xai", output_cost_per_token=0.01, input_cost_per_token=0.001)
    assert entry.prices == {"inputText": 0.001}


@pytest.mark.parametrize("text", ["Decimal('0')", "Decimal('1e999')", "Decimal('nan')", "Decimal('1e5')", "True", "-5"])
def test_what_cannot_be_a_price_is_none_in_python_either(tmp_path: Path, text: str) -> None:
    prices = f"prices=ModelPrice(input_mtok={text}, output_mtok=Decimal('1'))"
    wheel(tmp_path, GENAI, MODEL % f"ClauseEquals(equals='a'), {prices}")
    ((found,), _) = price_lists.read(tmp_path, DAY)
    assert found.entries[0].prices == {"outputText": 1e-06}


def test_long_ids_and_addresses_and_ids_that_look_like_mentions_are_left_out(tmp_path: Path) -> None:
    ids = ("@somebody", "-x", "a" * 121, "a" * 120)
    litellm(tmp_path, {model: {"litellm_provider": "openai"} for model in ids})
    ((found,), _) = price_lists.read(tmp_path, DAY)
    assert [entry.id for entry in found.entries] == ["a" * 120]
    for length, kept in ((301, False), (300, True)):
        address = "https://x/".ljust(length, "a")
        assert one(tmp_path, "gpt-x", litellm_provider="openai", source=address).source == (address if kept else None)


def spoiled(folder: Path, how: str) -> str:
    """Put a wheel that cannot be read there; the name of its list."""
    secret = "SECRET" * 100
    if how in PYTHON:
        wheel(folder, GENAI, f"# {secret}\n{PYTHON[how]}")
        return GENAI
    path = wheel(folder, LITELLM, json.dumps({secret: {}}))
    if how == "digits":
        wheel(folder, LITELLM, '{"gpt": {"litellm_provider": "openai", "output_cost_per_image": %s}}' % ("9" * 5000))
        return LITELLM
    content = bytearray(path.read_bytes())
    if how == "deflate":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(price_lists._MEMBERS[LITELLM], json.dumps({secret: {}}))
            start = 30 + len(price_lists._MEMBERS[LITELLM])
        content = bytearray(path.read_bytes())
        content[start : start + 8] = b"\xff" * 8
    else:
        # The flags and the method stand in the header of the member, and once more in the directory.
        for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = content.index(header) + offset
            if how == "encrypted":
                content[place] |= 1
            else:
                content[place + 2] = 99
    path.write_bytes(content)
    return LITELLM


PYTHON = {
    "decimal": "providers: list = [Decimal()]",
    "minus": f"providers: list = [{'-' * 200_000}1]",
    "id": "providers: list = [Provider(id='openai', models=[ModelInfo(id=5, match=ClauseEquals(equals='a'))])]",
    "nested": f"providers: list = {'[' * 150}{']' * 150}",
}


@pytest.mark.parametrize("how", ["deflate", "encrypted", "method", "digits", *PYTHON])
def test_whatever_is_wrong_with_a_wheel_the_other_counts_and_its_text_is_not_shown(tmp_path: Path, how: str) -> None:
    name = spoiled(tmp_path, how)
    with pytest.raises(ListsError):
        price_lists.read(tmp_path, DAY)
    wheel(tmp_path, *((GENAI, GENAI_DATA) if name == LITELLM else (LITELLM, "{}")))
    ((found,), (sentence,)) = price_lists.read(tmp_path, DAY)
    assert found.name != name
    shown = rf"{name}: failed to read {name.replace('-', '_')}-1\.2\.0-py3-none-any\.whl \([A-Za-z.]+\)\."
    assert re.fullmatch(shown, sentence)


@pytest.mark.parametrize("error", [MemoryError, RecursionError, NotImplementedError])
def test_a_list_that_is_too_much_is_left_out(
    tmp_path: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path, name: str) -> str:
        raise error("the text")

    wheel(tmp_path, LITELLM, "{}")
    monkeypatch.setattr(price_lists, "_member", fail)
    with pytest.raises(ListsError, match=rf"failed to read \S+ \({error.__name__}\)"):
        price_lists.read(tmp_path, DAY)


MODEL = "providers: list = [Provider(id='openai', models=[ModelInfo(id='a', match=%s)])]"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "x = 1",
        "providers: list = [",
        "providers: list = [f()]",
        MODEL % "ClauseEquals(equals=1 + 1)",
        MODEL % "ClauseOr(or_=[ClauseRegex(regex='(')])",
    ],
)
def test_python_of_another_shape_cannot_be_read(tmp_path: Path, content: str) -> None:
    wheel(tmp_path, GENAI, content)
    (tmp_path / "litellm-1-py3-none-any.whl").write_bytes(b"no archive")
    with pytest.raises(ListsError, match=r"No price list found in .*\. litellm: .*genai-prices: .*WHEELS"):
        price_lists.read(tmp_path, DAY)


def test_pip_gets_no_key_and_its_folder_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, str]]] = []

    def play(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append((command, env))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", play)
    told: list[str] = []
    environment = {"OPENAI_API_KEY": "secret", "GH_TOKEN": "secret", "PIP_CONFIG_FILE": "mine"}
    with price_list_download.downloaded(environment, told.append) as folder:
        assert folder.is_dir()
    assert not folder.exists()
    ((command, env),) = asked
    assert env == {"PIP_CONFIG_FILE": "mine"}
    assert command[:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary=:all:", "litellm", "genai-prices"} <= set(command)
    assert told[-1] == "downloaded"


def test_without_a_network_the_cause_and_the_cure_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    error = "WARNING: x\nERROR: No distribution at https://me:secret@registry.example/simple/ found"
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 1, "", error))
    with pytest.raises(ListsError) as caught, price_list_download.downloaded({}, lambda text: None):
        pass
    assert str(caught.value).startswith("The price lists cannot be downloaded: No distribution at … found. Check the ")
    assert str(caught.value).endswith("make models-refresh WHEELS=folder")
