"""Azure OpenAI, MiniMax, OpenRouter and xAI: what each of them adds to the protocol ``compatible``."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from local.simulator import Simulator
from local.simulator.protocols.compatible import OPENROUTER_MODELS
from pixelprompt.errors import ConfigurationError
from pixelprompt.models import catalogue
from pixelprompt.models.model import Generated, Model, ProviderError
from pixelprompt.models.parameters import ASPECT_RATIOS, RESOLUTIONS
from pixelprompt.models.registry import CATALOGUE
from pixelprompt.models.sizes import ratio
from tests.canned import Answer, Canned
from tests.contract.calls import PROMPT, ask, ask_simulator, digests, images, orders
from tests.contract.cases import CASES, WITHHELD, Case
from tests.contract.references import digest, encoded, pictures
from tests.contract.table import COLUMNS
from tests.contract.test_contract import assert_images_are_what_they_say, references, summary
from tests.contract.test_servers import ENCODED, KEY, failure

AZURE = Model("Azure", "compatible", "my-gpt-image", dialect="azure", supports={"images": {"max": 16}})
MINIMAX = Model("MiniMax H3", "compatible", "MiniMax-H3-Image", parameters={"response_format": "b64_json"})
OPENROUTER = Model(
    "Seedream 4.5",
    "compatible",
    "bytedance-seed/seedream-4.5",
    dialect="openrouter",
    supports={"images": {"max": 10}},
)
XAI = Model("Grok Imagine 2.0", "compatible", "grok-imagine-image-2.0", dialect="xai", supports={"images": {"max": 3}})
FLAVORS = {"azure": AZURE, "minimax": MINIMAX, "openrouter": OPENROUTER}
# Those that edit images; xAI refuses in a response with HTTP 200.
EDITING = {"azure": AZURE, "openrouter": OPENROUTER, "xai": XAI}
EDITS = [case for case in CASES if case.references]
XAI_OUTCOMES = {"edit refused": WITHHELD, "edit withheld": WITHHELD}
# What is about the connection, or about how a plain server hands images over, is the same for all flavors.
SHARED = [
    case
    for case in CASES
    if case.server == "simulator"
    and case.seconds == 20
    and not case.images_by
    and not case.references
    and not COLUMNS["compatible"].why_absent(case)
]
# OpenAI's own models have no side more than three times as long as the other.
MODERATE = [shape for shape in ASPECT_RATIOS if 1 / 3 <= ratio(shape) <= 3]


@pytest.mark.parametrize("case", SHARED, ids=lambda case: case.name)
@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_flavor_does_what_the_protocol_does(simulator: Simulator, flavor: str, case: Case) -> None:
    model = FLAVORS[flavor]
    if case.fault:
        simulator.set_fault(model.id, case.fault, **case.options)
    answer = ask_simulator(simulator, model, **case.request)
    assert summary(answer) == replace(COLUMNS["compatible"].outcome(case), requests=0)
    assert len(orders(simulator)) == 1
    if isinstance(answer, Generated):
        assert_images_are_what_they_say(answer)
    else:
        assert isinstance(answer, ProviderError)
        assert case.says in answer.said and "test-key" not in f"{answer} {answer.said}"


@pytest.mark.parametrize("case", EDITS, ids=lambda case: case.name)
@pytest.mark.parametrize("flavor", EDITING)
def test_an_edit_in_each_flavor(simulator: Simulator, flavor: str, case: Case) -> None:
    model, column = EDITING[flavor], COLUMNS["compatible"]
    if case.fault:
        simulator.set_fault(model.id, case.fault, **case.options)
    given = references(case, replace(column, model=model))
    answer = ask_simulator(simulator, model, references=given)
    expected = (XAI_OUTCOMES if flavor == "xai" else {}).get(case.name, column.outcome(case))
    assert summary(answer) == replace(expected, requests=0)
    (order,) = orders(simulator)
    if isinstance(answer, Generated):
        assert_images_are_what_they_say(answer)
        assert digests(order.body) == [digest(image) for image in given]


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_model_that_is_not_there_counts_as_retired(simulator: Simulator, flavor: str) -> None:
    unknown = {"azure": "unknown-deployment", "minimax": "MiniMax-H2-Image", "openrouter": "meta/nothing"}[flavor]
    answer = ask_simulator(simulator, replace(FLAVORS[flavor], id=unknown))
    assert isinstance(answer, ProviderError) and answer.code == "model_retired"
    assert [order.status for order in orders(simulator)] == [404]


class TestAzure:
    def test_the_key_has_a_header_of_its_own_and_the_path_a_version(self) -> None:
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as server:
            made = ask(AZURE, f"{server.url}/openai/v1/", key=KEY)
        assert isinstance(made, Generated)
        (asked,) = server.asked
        assert (asked.method, asked.path) == ("POST", "/openai/v1/images/generations?api-version=v1")
        assert asked.headers["api-key"] == KEY
        assert "authorization" not in asked.headers
        assert asked.json() == {"model": "my-gpt-image", "prompt": PROMPT}

    def test_without_a_key_neither_header_is_sent(self) -> None:
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as server:
            ask(AZURE, server.url, key=None)
        assert not {"api-key", "authorization"} & set(server.asked[0].headers)

    def test_another_version_is_a_path_of_the_model(self) -> None:
        path = "/deployments/mine/images/generations?api-version=2026-04-01"
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as server:
            ask(replace(AZURE, path=path), f"{server.url}/openai")
        assert [asked.path for asked in server.asked] == [f"/openai{path}"]

    @pytest.mark.parametrize("below", ["/compatible/v1", "/compatible/openai/v1"])
    def test_every_parameter_is_told_as_to_openai(self, simulator: Simulator, below: str) -> None:
        wanted: dict[str, Any] = {
            "quality": "high",
            "output_format": "webp",
            "output_compression": 60,
            "background": "transparent",
        }
        answer = ask(
            AZURE, simulator.url + below, n=2, aspect_ratio="16:9", resolution="2K", moderation="low", **wanted
        )
        assert isinstance(answer, Generated), answer
        (order,) = orders(simulator)
        told = {"model": "my-gpt-image", "prompt": PROMPT, "n": 2, "size": "2704x1520", "moderation": "low"}
        assert order.body == {**told, **wanted}
        assert [(image.mime_type, image.width, image.height) for image in answer.images] == [
            ("image/webp", 2704, 1520)
        ] * 2
        assert answer.request_id and answer.usage and set(answer.usage) == {"inputTextTokens", "outputImageTokens"}

    @pytest.mark.parametrize("shape", MODERATE)
    def test_it_takes_these_shapes(self, simulator: Simulator, shape: str) -> None:
        simulator.set_fault(AZURE.id, "no_image")
        for resolution in RESOLUTIONS:
            answer = ask_simulator(simulator, AZURE, aspect_ratio=shape, resolution=resolution)
            assert isinstance(answer, ProviderError) and answer.code == "no_image", answer

    @pytest.mark.parametrize("parameters", [{"seed": 1}, {"response_format": "b64_json"}])
    def test_it_refuses_what_openai_refuses(self, simulator: Simulator, parameters: dict[str, Any]) -> None:
        answer = ask_simulator(simulator, replace(AZURE, parameters=parameters))
        assert isinstance(answer, ProviderError) and answer.code == "invalid_request"
        assert "Unknown parameter" in str(answer)

    def test_a_missing_or_wrong_key(self, simulator: Simulator) -> None:
        for key in (None, "bad-key-1234567890"):
            answer = ask(AZURE, f"{simulator.url}/compatible/openai/v1", key=key)
            assert isinstance(answer, ProviderError) and answer.code == "bad_credentials"
            assert "1234567890" not in str(answer)
        assert [order.status for order in orders(simulator)] == [401, 401]

    def test_without_a_version_there_is_nothing(self, simulator: Simulator) -> None:
        answer = ask_simulator(simulator, replace(AZURE, path="/images/generations"))
        assert isinstance(answer, ProviderError) and answer.code == "invalid_request"
        assert "Resource not found" in str(answer)

    def test_the_log_of_the_simulator_holds_no_key(self, simulator: Simulator) -> None:
        images(simulator, AZURE, key=KEY)
        assert KEY not in json.dumps(orders(simulator)[0].headers)

    @pytest.mark.parametrize(
        ("status", "error", "code", "billable"),
        [
            (400, {"code": "content_policy_violation", "message": "Rejected by our safety system."}, "refused", "no"),
            (400, {"code": "contentFilter", "message": "The prompt was filtered."}, "refused", "no"),
            (400, {"code": "content_filter", "message": "x"}, "refused", "no"),
            (400, {"code": "moderation_blocked", "message": "x"}, "refused", "no"),
            (
                400,
                {"code": "moderation_blocked", "message": "x", "moderation_details": {"moderation_stage": "output"}},
                "refused",
                "unknown",
            ),
            (400, {"code": "contentFilter", "message": "Generated image was filtered."}, "refused", "unknown"),
            (
                401,
                {"code": "401", "message": "Access denied due to invalid subscription key."},
                "bad_credentials",
                "no",
            ),
            (403, {"code": "403", "message": "Your resource has been temporarily blocked."}, "bad_credentials", "no"),
            (404, {"code": "404", "message": "Resource not found"}, "invalid_request", "no"),
            (
                404,
                {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."},
                "model_retired",
                "no",
            ),
            (
                429,
                {"code": "429", "message": "You have exceeded the call rate limit. Please retry after 9 seconds."},
                "rate_limited",
                "no",
            ),
            (429, {"code": "insufficient_quota", "message": "x"}, "quota_exhausted", "no"),
        ],
    )
    def test_errors_in_the_words_of_azure(self, status: int, error: Any, code: str, billable: str) -> None:
        answer = failure(AZURE, status, {"error": error})
        assert (answer.code, answer.billable) == (code, billable)

    @pytest.mark.parametrize(
        ("details", "counted"),
        [
            ({"text_tokens": 10, "image_tokens": 40}, {"inputTextTokens": 10, "inputImageTokens": 40}),
            ({"image_tokens": 40}, {"inputTextTokens": 10, "inputImageTokens": 40}),
            ({"text_tokens": 50, "image_tokens": 0}, {"inputTextTokens": 50}),
            (None, {"inputTextTokens": 50}),
        ],
    )
    @pytest.mark.parametrize("model", [AZURE, Model("GPT Image 2", "openai", "gpt-image-2")], ids=lambda m: m.provider)
    def test_input_that_is_an_image_is_not_counted_as_text(self, model: Model, details: Any, counted: Any) -> None:
        usage = {"input_tokens": 50, "input_tokens_details": details, "output_tokens": 1000}
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}], "usage": usage})) as server:
            answer = ask(model, server.url)
        assert isinstance(answer, Generated) and answer.usage == {**counted, "outputImageTokens": 1000}

    def test_the_overlay_of_the_documentation_is_right(self, simulator: Simulator) -> None:
        page = (Path(__file__).parents[2] / "docs" / "reference" / "providers" / "compatible.md").read_text(
            encoding="utf-8"
        )
        section = page.partition("### Azure OpenAI\n")[2].partition("\n#")[0]
        (example,) = re.findall(r"^```json\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
        shipped = json.loads(CATALOGUE.read_text(encoding="utf-8"))
        (entry,) = json.loads(example)["models"]
        parsed = catalogue.parse(catalogue.overlay(shipped, {"models": [entry]}))["models"]
        (model,) = [model for model in parsed if model.name == entry["name"]]
        assert (model.dialect, model.api_key_name) == ("azure", "AZURE_OPENAI_API_KEY")
        for shape in model.supports["aspectRatio"]:
            for resolution in model.supports["resolution"]:
                simulator.set_fault(model.id, "no_image")
                answer = ask_simulator(simulator, model, aspect_ratio=shape, resolution=resolution)
                assert isinstance(answer, ProviderError) and answer.code == "no_image", (shape, answer)
        simulator.clear_faults()
        (image,) = images(simulator, model, moderation=model.supports["providerModeration"][0]).images
        assert image.width == image.height == 1024


class TestMiniMax:
    @pytest.mark.parametrize("name", ["MiniMax-H3-Image", "MiniMax-H3-Image-Highspeed"])
    @pytest.mark.parametrize("way", ["url", "b64_json"])
    def test_sizes_number_and_tokens(self, simulator: Simulator, name: str, way: str) -> None:
        model = replace(MINIMAX, id=name, parameters={"response_format": way})
        made = images(simulator, model, n=3, aspect_ratio="16:9", resolution="1K", key=KEY)
        assert [(image.width, image.height) for image in made.images] == [(1472, 832)] * 3
        assert made.usage and made.usage["inputTextTokens"] > 0 and made.usage["outputImageTokens"] > 0
        (order,) = orders(simulator)
        assert order.path == "/compatible/v1/images/generations" and "authorization" in order.headers
        assert order.body == {
            "model": name,
            "prompt": PROMPT,
            "n": 3,
            "size": "1472x832",
            "response_format": way,
        }

    def test_it_makes_ten_at_most(self, simulator: Simulator) -> None:
        simulator.set_fault(MINIMAX.id, "no_image")
        codes = []
        for n in (10, 11):
            answer = ask_simulator(simulator, MINIMAX, n=n)
            assert isinstance(answer, ProviderError)
            codes.append(answer.code)
        assert codes == ["no_image", "invalid_request"]


class TestOpenRouter:
    @pytest.mark.parametrize("name", OPENROUTER_MODELS)
    def test_a_real_model(self, simulator: Simulator, name: str) -> None:
        made = images(simulator, replace(OPENROUTER, id=name), aspect_ratio="16:9", resolution="1K", key=KEY)
        assert made.cost == pytest.approx(0.02 if "seedream-5-5" in name else 0.04)
        (order,) = orders(simulator)
        assert order.path == "/compatible/v1/images"
        assert order.body == {"model": name, "prompt": PROMPT, "aspect_ratio": "16:9", "resolution": "1K"}

    @pytest.mark.parametrize("shape", ["1:4", "4:1", "1:8", "8:1", "4:5", "5:4"])
    def test_long_shapes(self, simulator: Simulator, shape: str) -> None:
        (image,) = images(simulator, OPENROUTER, aspect_ratio=shape).images
        assert image.width / image.height == pytest.approx(ratio(shape), rel=0.02)


@pytest.mark.parametrize(
    ("given", "dollars"),
    [
        ({}, 0.04),
        ({"quality": "low", "resolution": "1K"}, 0.04),
        ({"resolution": "2K"}, 0.06),
        ({"quality": "medium", "resolution": "2K"}, 0.08),
        ({"quality": "medium", "resolution": "2K", "n": 2}, 0.16),
    ],
)
def test_xai_charges_by_quality_and_resolution(simulator: Simulator, given: dict[str, Any], dollars: float) -> None:
    grok = Model("Grok", "compatible", "grok-imagine-image-2.0", dialect="xai")
    assert images(simulator, grok, **given).cost == pytest.approx(dollars)
    assert len(orders(simulator)) == 1


@pytest.mark.parametrize(
    ("name", "resolution", "credits_"),
    [
        ("flux-3-image", "512", 4.1),
        ("flux-3-image", None, 4.8),
        ("flux-3-image", "1K", 4.8),
        ("flux-3-image", "2K", 10),
        ("flux-3-image", "4K", 60.7),
        ("flux-3-image-klein", None, 0.9),
        ("flux-3-image-klein", "2K", 1.4),
        ("flux-3-image-klein", "4K", 3.6),
    ],
)
def test_bfl_charges_by_resolution(simulator: Simulator, name: str, resolution: str | None, credits_: float) -> None:
    # What is not drawn is charged all the same, and quicker.
    simulator.set_fault(name, "no_image")
    answer = ask_simulator(simulator, Model("FLUX", "bfl", name), resolution=resolution)
    assert isinstance(answer, ProviderError) and answer.cost == pytest.approx(credits_ / 100)
    assert len(orders(simulator)) == 1


@pytest.mark.parametrize(
    ("name", "taken"), [("flux-2-pro", True), ("flux-2-klein-4b", True), ("flux-pro-1.1", False), ("flux-dev", False)]
)
def test_bfl_draws_webp_since_flux_2(simulator: Simulator, name: str, taken: bool) -> None:
    answer = ask_simulator(simulator, Model("FLUX", "bfl", name), output_format="webp")
    if taken:
        assert isinstance(answer, Generated) and answer.images[0].mime_type == "image/webp"
    else:
        assert isinstance(answer, ProviderError) and answer.code == "invalid_request"


def test_the_flash_of_recraft_is_cheap(simulator: Simulator) -> None:
    flash = Model("Recraft Flash", "recraft", "recraftv4_1_flash")
    assert images(simulator, flash, n=2).cost == pytest.approx(0.014)


class TestEdits:
    def test_a_plain_server_gets_the_fields_and_the_files(self, simulator: Simulator) -> None:
        plain = COLUMNS["compatible"].model
        wanted: dict[str, Any] = {"n": 2, "aspect_ratio": "16:9", "quality": "low"}
        given = (encoded("png"), encoded("jpeg"))
        images(simulator, plain, **wanted)
        images(simulator, plain, references=given, **wanted)
        images(simulator, plain, references=given[1:])
        generation, edit, small = orders(simulator)
        assert (generation.path, edit.path) == ("/compatible/v1/images/generations", "/compatible/v1/images/edits")
        files = edit.body.pop("image[]")
        assert edit.body == {name: str(value) for name, value in generation.body.items()}
        assert [(file["fileName"], file["mimeType"], file["sha256"]) for file in files] == [
            ("reference-1.png", "image/png", digest(given[0])),
            ("reference-2.jpg", "image/jpeg", digest(given[1])),
        ]
        assert [file["sha256"] for file in small.body["image"]] == [digest(given[1])] and "image[]" not in small.body

    def test_what_a_form_has_beside_texts(self) -> None:
        model = Model("Mine", "compatible", "mine", parameters={"turbo": True, "level": 2, "tags": ["a"]})
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as server:
            ask(model, server.url, references=(encoded("png"),))
        (asked,) = server.asked
        for name, value in (("turbo", b"true"), ("level", b"2"), ("tags", b'["a"]')):
            assert b'name="%s"\r\n\r\n%s\r\n' % (name.encode(), value) in asked.body

    @pytest.mark.parametrize(
        ("path", "edits"),
        [
            (None, "/images/edits?api-version=v1"),
            ("/deployments/mine/images/generations?api-version=2026-04-01",
             "/deployments/mine/images/edits?api-version=2026-04-01"),
            ("/draw", "/draw"),
        ],
    )  # fmt: skip
    def test_the_path_of_edits(self, path: str | None, edits: str) -> None:
        with Canned(Answer(content={"data": [{"b64_json": ENCODED}]})) as server:
            ask(replace(AZURE, path=path), server.url, key=KEY, references=(encoded("png"),))
        (asked,) = server.asked
        assert asked.path == edits and asked.headers["api-key"] == KEY

    def test_azure_counts_the_tokens_of_references(self, simulator: Simulator) -> None:
        made = images(simulator, AZURE, references=(encoded("png", (1024, 1024)),))
        assert made.usage and made.usage["inputImageTokens"] == 1024

    def test_one_image_of_xai_has_its_own_shape(self, simulator: Simulator) -> None:
        given = encoded("jpeg", (640, 320))
        made = images(simulator, XAI, references=(given,), resolution="2K")
        (order,) = orders(simulator)
        assert order.path == "/compatible/v1/images/edits"
        image = order.body.pop("image")
        assert image["type"] == "image_url" and image["url"]["mimeType"] == "image/jpeg"
        assert digests(image) == [digest(given)]
        assert order.body == {"model": XAI.id, "prompt": PROMPT, "resolution": "2k"}
        assert made.images[0].width / made.images[0].height == pytest.approx(2, rel=0.02)
        # Without a quality, an edit is of the medium one.
        assert made.cost == pytest.approx(0.08)

    def test_several_images_of_xai_are_a_list(self, simulator: Simulator) -> None:
        given = pictures(2)
        images(simulator, XAI, references=given, aspect_ratio="16:9")
        (order,) = orders(simulator)
        assert digests(order.body["images"]) == [digest(image) for image in given]
        assert order.body["aspect_ratio"] == "16:9" and "image" not in order.body

    def test_openrouter_has_them_on_its_only_path(self, simulator: Simulator) -> None:
        model, given = replace(OPENROUTER, id="bytedance-seed/seedream-5-5"), pictures(2)
        made = images(simulator, model, references=given, aspect_ratio="16:9", resolution="1K")
        (order,) = orders(simulator)
        assert order.path == "/compatible/v1/images"
        references_ = order.body.pop("input_references")
        assert [entry["type"] for entry in references_] == ["image_url"] * 2
        assert [digests(entry["image_url"]) for entry in references_] == [[digest(image)] for image in given]
        assert order.body == {"model": model.id, "prompt": PROMPT, "aspect_ratio": "16:9", "resolution": "1K"}
        assert made.cost == pytest.approx(0.02 + 2 * 0.008)

    @pytest.mark.parametrize("dialect", ["siliconflow", "together"])
    def test_a_dialect_without_them_sends_nothing(self, simulator: Simulator, dialect: str) -> None:
        model = Model("Mine", "compatible", f"{dialect}-mine", dialect=dialect)
        answer = ask_simulator(simulator, model, references=pictures(1))
        assert isinstance(answer, ProviderError) and (answer.code, answer.billable) == ("invalid_request", "no")
        assert not orders(simulator)

    @pytest.mark.parametrize("dialect", ["siliconflow", "together"])
    def test_a_catalogue_cannot_say_otherwise(self, dialect: str) -> None:
        entry = {
            "name": "Mine", "provider": "compatible", "id": "mine", "baseUrl": "https://images.example/v1",
            "dialect": dialect, "supports": {"images": {"max": 2}},
        }  # fmt: skip
        with pytest.raises(ConfigurationError, match=f"the dialect {dialect} does not send"):
            catalogue.parse({"schemaVersion": 1, "models": [entry], "textModels": []})
