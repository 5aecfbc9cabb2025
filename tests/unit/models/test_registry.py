"""The catalogue of models, what changes it, and what a caller sees of it."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from pixelprompt.errors import ConfigurationError
from pixelprompt.models.catalogue import former_names, overlay, parse
from pixelprompt.models.cost import estimate
from pixelprompt.models.listing import model_list
from pixelprompt.models.overlay import CACHE_SECONDS, LiveRegistry
from pixelprompt.models.parameters import IMAGES, NAMES
from pixelprompt.models.provider import PROVIDERS
from pixelprompt.models.registry import CATALOGUE, ModelRegistry
from pixelprompt.models.sizes import FixedSizes, PixelLimits, PixelSizes
from pixelprompt.providers.keys import ProviderKeys
from pixelprompt.storage.keys import OVERLAY_KEY
from tests.today import TODAY

BUCKET = "test-bucket"
ENTRY = {"name": "A", "provider": "openai", "id": "a"}
DATED = {"date": "2026-11-26", "source": "https://provider.example/prices"}
GEMINI = {**ENTRY, "provider": "gemini"}
SERVER = {"name": "Own Server", "provider": "compatible", "id": "own-1", "baseUrl": "http://127.0.0.1:8080/v1"}


def load(tmp_path: Path, content: Any, **options: Any) -> ModelRegistry:
    path = tmp_path / "models.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return ModelRegistry.load(path, **options)


class Secrets:
    """Secrets Manager with a key for Gemini."""

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        return {"SecretString": '{"GEMINI_API_KEY": "k"}'}


class TestCatalogue:
    def test_nine_models_over_all_providers_are_the_default(self) -> None:
        registry = ModelRegistry.load(day=lambda: TODAY)
        defaults = registry.defaults(lambda model: True)
        assert len(defaults) == 9
        assert {model.provider for model in defaults} == set(PROVIDERS)
        assert all(model.shutdown is None and estimate(model, {})["amount"] for model in defaults)

    def test_models_are_found_by_name_and_id(self) -> None:
        registry = ModelRegistry.load(day=lambda: TODAY)
        models = registry.get_all_models()
        assert registry.find(models[2].id) == registry.find(models[2].name.upper()) == models[2]
        assert registry.find("no-such-model") is None

    @pytest.mark.parametrize(
        "name", ["dall-e-3", "DALL-E 3", "gpt-image-1", "imagen-4.0-generate-001", "amazon.nova-canvas-v1:0"]
    )
    def test_a_retired_model_names_a_replacement_that_lives(self, name: str) -> None:
        registry = ModelRegistry.load(day=lambda: TODAY)
        assert registry.find(name) is None
        retired = registry.find_retired(name)
        assert retired is not None and retired.shutdown and retired.replacement
        assert registry.find(retired.replacement) is not None

    def test_every_replacement_lives(self) -> None:
        registry = ModelRegistry.load(day=lambda: TODAY)
        entries = json.loads(CATALOGUE.read_text())["models"]
        for entry in entries:
            if "replacement" in entry:
                assert registry.find(entry["replacement"]), entry["name"]

    def test_a_model_retires_on_its_day(self) -> None:
        assert ModelRegistry.load(day=lambda: date(2026, 11, 30)).find("gpt-image-1.5") is not None
        assert ModelRegistry.load(day=lambda: date(2026, 12, 1)).find("gpt-image-1.5") is None

    def test_every_price_says_when_and_where_it_was_read(self) -> None:
        catalogue = json.loads(CATALOGUE.read_text())
        for entry in [*catalogue["models"], *catalogue["textModels"]]:
            if "price" in entry:
                assert entry["price"]["source"].startswith("https://") and entry["price"]["date"]

    def test_the_text_model_is_chosen_by_place_or_name(self) -> None:
        first = ModelRegistry.load(prompt_model="1").get_prompt_model()
        second = ModelRegistry.load(prompt_model="gemini 3.5 flash").get_prompt_model()
        assert first is not None and second is not None and first != second
        for wrong in ("9", "0", "no-such-model"):
            with pytest.raises(ConfigurationError, match=f"promptModelIndex is {wrong}"):
                ModelRegistry.load(prompt_model=wrong)

    @pytest.mark.parametrize(
        ("content", "complaint"),
        [
            ("not json", "cannot be read"),
            ([], "must be an object"),
            ({"models": [], "textModels": 5}, "lists models and textModels"),
            ({"models": ["x"], "textModels": []}, "must be an object"),
            ({"models": [{"name": "A", "provider": "openai"}], "textModels": []}, "needs 'id'"),
            ({"models": [{**ENTRY, "provider": "acme"}], "textModels": []}, "provider='acme'; it must be one of"),
            (
                {"models": [{**ENTRY, "timeLimit": 900}], "textModels": []},
                "timeLimit=900; it must be a number from 1 to 200",
            ),
            ({"models": [{**ENTRY, "timelimit": 9}], "textModels": []}, "'timelimit', which is unknown"),
            ({"models": [{**ENTRY, "shutdown": "soon"}], "textModels": []}, "shutdown='soon'"),
            ({"models": [{**ENTRY, "supports": {"aspectRatio": ["5:5"]}}], "textModels": []}, "supports="),
            ({"models": [{**ENTRY, "supports": {"steps": {"min": 5, "max": 1}}}], "textModels": []}, "supports="),
            ({"models": [{**ENTRY, "price": {"unit": "image", "amount": 1}}], "textModels": []}, "price="),
            ({"models": [{**ENTRY, "parameters": {"n": 4}}], "textModels": []}, "without model, n, prompt"),
            *(
                (
                    {"models": [{**ENTRY, "price": {**DATED, **price}}], "textModels": []},
                    "it must be an object with date",
                )
                for price in (
                    {"unit": "image"},
                    {"unit": "image", "amount": 1e308},
                    {"unit": "image", "amount": 1, "estimate": 1},
                    {"unit": "image", "amount": 1, "qualityFactors": {"high": 96}},
                    {"unit": "image", "amount": 1, "byQuality": {"hihg": 1}},
                    {"unit": "image", "amount": 1, "byResolution": {"7K": 1}},
                    {"unit": "image", "amount": 1, "byResolution": None},
                    {"unit": "image", "amount": 1, "uncorroborated": ""},
                    {"unit": "token", "qualityFactors": {"high": 96}},
                    {"unit": "token", "outputImage": 1, "qualityFactors": {"high": 0}},
                    {"unit": "token", "outputImage": 1, "qualityFactors": {"high": 1e308}},
                    {"unit": "token", "outputImage": 1, "byResolution": {"2K": 1}},
                    {"unit": "token", "outputImage": 1, "estimateByQuality": {"high": 1}},
                )
            ),
            ({"models": [{**ENTRY, "baseUrl": "http://example.org"}], "textModels": []}, "baseUrl="),
            ({"models": [{**ENTRY, "baseUrl": "http://[::1"}], "textModels": []}, "baseUrl="),
            ({"models": [{**ENTRY, "dialect": "klingon"}], "textModels": []}, "dialect="),
            ({"models": [{**ENTRY, "baseUrl": "https://example.org/v1"}], "textModels": []}, "has baseUrl; only"),
            (
                {"models": [{**ENTRY, "supports": {"seed": {"min": 1, "max": 9}}}], "textModels": []},
                "supports seed",
            ),
            ({"models": [{**ENTRY, "supports": {"n": {"max": 2.5}}}], "textModels": []}, "supports="),
            (
                {"models": [{**ENTRY, "provider": "gemini", "supports": {"n": {"perCall": True}}}], "textModels": []},
                "perCall",
            ),
            ({"models": [{**ENTRY, "path": "images"}], "textModels": []}, "path="),
            ({"models": [{**ENTRY, "supports": {"n": {"max": "4"}}}], "textModels": []}, "supports="),
            ({"models": [{**ENTRY, "provider": ["openai"]}], "textModels": []}, "needs 'provider'"),
            ({"models": [ENTRY, {**ENTRY, "name": " A ", "id": "b"}], "textModels": []}, "same name in keys"),
            ({"models": [ENTRY, {**ENTRY, "name": "B"}], "textModels": []}, "the same id"),
            ({"models": [{**ENTRY, "name": "///"}], "textModels": []}, "at least one letter"),
        ],
    )
    def test_a_wrong_catalogue_says_what_is_wrong(self, tmp_path: Path, content: Any, complaint: str) -> None:
        with pytest.raises(ConfigurationError, match=complaint):
            load(tmp_path, content)

    @pytest.mark.parametrize(
        "entry",
        [
            {"name": "V", "provider": "recraft", "id": "recraftv4_1_vector"},
            {"name": "V", "provider": "recraft", "id": "recraftv3", "parameters": {"style": "vector_illustration/x"}},
            {"name": "V", "provider": "openai", "id": "gpt-image-2.6-flare", "parameters": {"output_format": "svg"}},
            {**SERVER, "id": "recraft/recraft-v4.1-vector"},
            {**SERVER, "id": "recraft-ai/Recraft-V3-SVG"},
            {**SERVER, "parameters": {"output_format": "SVG"}},
        ],
    )
    def test_a_model_that_makes_svg_is_rejected_before_it_costs_anything(
        self, tmp_path: Path, entry: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"models\[0\] \(.+\) makes SVG images.+raster model"):
            load(tmp_path, {"models": [entry], "textModels": []})

    @pytest.mark.parametrize(
        "entry",
        [
            {**SERVER, "id": "vector-art"},
            {**SERVER, "parameters": {"style": "vector_illustration", "negative_prompt": "svg"}},
            {"name": "V", "provider": "recraft", "id": "recraftv3_vector", "enabled": False},
            {"name": "V", "provider": "recraft", "id": "recraftv3_vector", "retired": True},
        ],
    )
    def test_a_model_that_only_sounds_like_svg_is_accepted(self, tmp_path: Path, entry: dict[str, Any]) -> None:
        load(tmp_path, {"models": [entry], "textModels": []})

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("supports", {"quality": ["`$.foo`"]}),
            ("supports", {"`$.name`": 1}),
            ("supports", {"aspectRatio": ["`$.name"]}),
            ("price", {"unit": "`$.foo`"}),
            ("supports", {"quality": ["\ud800"]}),
            ("supports", {"\ud800": 1}),
            ("timeLimit", "\udc00"),
            ("parameters", {"a": "\ud800"}),
        ],
        ids=repr,
    )
    def test_no_value_hides_which_field_is_wrong(self, field: str, value: Any) -> None:
        with pytest.raises(ConfigurationError, match=rf"^models\[0\] \(A\) has {field}="):
            parse({"models": [{**ENTRY, field: value}], "textModels": []})

    @pytest.mark.parametrize("field", ["name", "id"])
    def test_a_name_or_id_is_one_line(self, field: str) -> None:
        with pytest.raises(ConfigurationError, match=rf"^models\[0\] in .* a control character in its {field}\.$"):
            parse({"models": [{**ENTRY, field: "a\nb"}], "textModels": []})

    @pytest.mark.parametrize("name", ["seed", "steps", "outputCompression"])
    def test_a_range_of_whole_numbers_has_whole_ends(self, name: str) -> None:
        with pytest.raises(ConfigurationError, match="supports="):
            parse({"models": [{**SERVER, "supports": {name: {"min": 0.5, "max": 5}}}], "textModels": []})
        assert parse({"models": [{**SERVER, "supports": {"guidance": {"min": 0.5, "max": 5}}}], "textModels": []})

    def test_a_range_has_no_upper_limit(self) -> None:
        for most in (2**64, 1e300):
            (model,) = parse({"models": [{**SERVER, "supports": {"seed": {"min": 0, "max": most}}}], "textModels": []})[
                "models"
            ]
            assert model.supports["seed"]["max"] == most

    def test_a_disabled_model_is_not_offered(self, tmp_path: Path) -> None:
        entries = [ENTRY, {**ENTRY, "name": "B", "id": "b", "enabled": False}]
        assert [m.name for m in load(tmp_path, {"models": entries, "textModels": []}).get_all_models()] == ["A"]


LIMITS = {"multipleOf": 16, "side": {"min": 64, "max": 4096}, "area": {"min": 4096, "max": 4194304}}


class TestPixels:
    @pytest.mark.parametrize(
        ("pixels", "sizes"),
        [
            (["1024x1024", "1024x1536"], FixedSizes([(1024, 1024), (1024, 1536)])),
            (LIMITS, PixelLimits(16, 64, 4096, 4096, 4194304)),
            ({**LIMITS, "area": {"max": 9000}}, PixelLimits(16, 64, 4096, 0, 9000)),
            ({"multipleOf": 1, "side": {"min": 1, "max": 1}}, PixelLimits(1, 1, 1)),
        ],
    )
    @pytest.mark.parametrize("entry", [{**ENTRY, "provider": "bfl"}, SERVER], ids=["bfl", "compatible"])
    def test_an_entry_says_which_sizes_its_model_accepts(
        self, entry: dict[str, Any], pixels: Any, sizes: PixelSizes
    ) -> None:
        (model,) = parse({"models": [{**entry, "pixels": pixels}], "textModels": []})["models"]
        assert model.pixels == sizes

    @pytest.mark.parametrize(
        "pixels",
        [
            None,
            True,
            "1024x1024",
            [],
            [1024],
            ["1024"],
            ["1024x"],
            ["0x0"],
            ["1024X1024"],
            ["1024x1024", "1024x1024 "],
            ["100000x1"],
            ["16385x1"],
            ["1٠٢٤x1024"],
            {"multipleOf": 64, "side": {"min": 64, "max": 128}, "area": {"min": 4097, "max": 8191}},
            {},
            {"multipleOf": 16},
            {**LIMITS, "step": 16},
            {**LIMITS, "multipleOf": 0},
            {**LIMITS, "multipleOf": True},
            {**LIMITS, "multipleOf": 16.0},
            {**LIMITS, "side": {"min": 65, "max": 4096}},
            {**LIMITS, "side": {"min": 64, "max": 4095}},
            {**LIMITS, "side": {"min": 128, "max": 64}},
            {**LIMITS, "side": {"min": 0, "max": 64}},
            {**LIMITS, "side": {"min": 64}},
            {**LIMITS, "side": {"min": 64, "max": 32768}},
            {**LIMITS, "side": {"min": "64", "max": "4096"}},
            {**LIMITS, "side": [64, 4096]},
            {**LIMITS, "area": {"min": 9, "max": 8}},
            {**LIMITS, "area": {"min": 0}},
            {**LIMITS, "area": {"max": 4095}},
            {**LIMITS, "area": {"min": 16777217}},
            {**LIMITS, "area": {"most": 1}},
            {**LIMITS, "area": None},
        ],
        ids=repr,
    )
    def test_other_sizes_are_refused(self, pixels: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"has pixels=.+; it must be a list of sizes"):
            parse({"models": [{**SERVER, "pixels": pixels}], "textModels": []})

    def test_a_provider_that_is_told_no_size_in_pixels_has_none(self) -> None:
        for name, provider in PROVIDERS.items():
            entry = {"name": "A", "provider": name, "id": "a", "pixels": LIMITS}
            if provider.sends_pixels:
                assert parse({"models": [entry], "textModels": []})["models"]
                continue
            with pytest.raises(ConfigurationError, match=f"has pixels, but {name} models"):
                parse({"models": [entry], "textModels": []})


def test_a_providers_row_names_parameters_of_ours() -> None:
    for name, provider in PROVIDERS.items():
        assert provider.parameters < {*NAMES, IMAGES} - {"n"}, name
        assert provider.simulator_path.startswith(f"/{name}"), name
        assert (provider.key_name is None) is (provider.probe is None), name


class TestOverlay:
    BASE: dict[str, Any] = {"models": [ENTRY, {**ENTRY, "name": "B", "id": "b"}], "textModels": []}  # noqa: RUF012

    def test_it_changes_adds_and_disables(self) -> None:
        changes = {"models": [{"name": "A", "timeLimit": 90}, {"name": "B", "enabled": False}, SERVER]}
        models = parse(overlay(self.BASE, changes))["models"]
        assert [(model.name, model.time_limit) for model in models] == [("A", 90), ("Own Server", 60)]

    def test_another_provider_or_id_does_not_inherit_what_is_the_former_ones(self) -> None:
        base = {**self.BASE, "models": [{**ENTRY, "provider": "bfl", "path": "/a", "pixels": ["1x1"]}]}
        for changes, kept in (
            ({"timeLimit": 90}, {"path", "pixels"}),
            ({"provider": "bfl", "id": "a"}, {"path", "pixels"}),
            ({"id": "b"}, {"pixels"}),
            ({"id": "b", "path": "/b"}, {"path", "pixels"}),
            ({"provider": "gemini"}, set()),
            ({"provider": "recraft", "id": "b", "supports": {}}, set()),
        ):
            result = overlay(base, {"models": [{"name": "A", **changes}]})
            assert {"path", "pixels"} & {*result["models"][0]} == kept, changes
            assert parse(result)["models"]

    def test_former_names_of_fields_are_accepted_with_a_warning(self) -> None:
        server = {**SERVER, "keyName": "MY_KEY"}
        changes = {"models": [{"name": "A", "takes": {"resolution": ["2K"]}}, server]}
        base = {**self.BASE, "models": [{**ENTRY, "provider": "gemini", "supports": {"aspectRatio": ["1:1"]}}]}
        first, second = parse(overlay(base, changes))["models"]
        assert (first.supports, second.api_key_name) == ({"resolution": ["2K"]}, "MY_KEY")
        assert former_names(changes) == [
            "models (A) has `takes`; rename it to `supports` before 3.0.0.",
            "models (Own Server) has `keyName`; rename it to `apiKeyName` before 3.0.0.",
        ]
        assert former_names({"models": [{"name": "A", "supports": {}}]}) == []

    @pytest.mark.parametrize("changes", [None, 5, [], {"models": 5}, {"models": [5, {"takes": {}}]}, {"models": None}])
    def test_what_is_no_overlay_has_no_former_names(self, changes: Any) -> None:
        assert former_names(changes) == []

    def test_a_field_under_both_names_is_refused(self) -> None:
        fields: list[dict[str, Any]] = [{"takes": {}, "supports": {}}, {"keyName": "A_KEY", "apiKeyName": "A_KEY"}]
        for both in fields:
            with pytest.raises(ConfigurationError, match=r"models \(A\) has `\w+` and its former name"):
                overlay(self.BASE, {"models": [{"name": "A", **both}]})

    @pytest.mark.parametrize(
        "changes",
        [
            [],
            {"model": []},
            {"models": {}},
            {"models": ["x"]},
            {"models": [{"name": []}]},
            {"models": [{}]},
            {"models": [SERVER, SERVER]},
            {"models": [{**SERVER, "name": "\ud800"}]},
            {"models": [{**SERVER, "replacement": "\ud800"}]},
        ],
    )
    def test_what_is_no_overlay_is_refused(self, changes: Any) -> None:
        with pytest.raises(ConfigurationError):
            overlay(self.BASE, changes)

    def test_it_is_taken_up_within_a_minute_and_a_broken_one_is_ignored(self, s3: Any) -> None:
        now = [0.0]
        live = LiveRegistry(s3, BUCKET, clock=lambda: now[0])
        assert live().find("own-1") is None

        def put(content: Any) -> None:
            s3.put_object(Bucket=BUCKET, Key=OVERLAY_KEY, Body=json.dumps(content))
            now[0] += CACHE_SECONDS

        put({"models": [SERVER]})
        assert live().find("own-1") is not None
        put({"models": [{**SERVER, "provider": "acme"}]})
        assert live().find("own-1") is not None
        put({"models": []})
        assert live().find("own-1") is None

    def test_it_costs_one_read_a_minute(self, s3: Any) -> None:
        calls: list[str] = []
        s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
        live = LiveRegistry(s3, BUCKET, clock=lambda: 0.0)
        for _ in range(5):
            live()
        assert calls == ["GetObject"]

    def test_s3_out_of_reach_leaves_the_models_as_they_are(self, s3: Any) -> None:
        assert LiveRegistry(s3, "no-such-bucket")().get_all_models()


class TestModelList:
    def test_a_caller_sees_what_may_be_asked_for(self) -> None:
        registry = ModelRegistry.load(day=lambda: TODAY)
        listed = model_list(registry, ProviderKeys(Secrets(), "keys").has_credentials)
        assert listed["total"] == len(listed["models"]) == len(registry.get_all_models())
        by_id = {entry["id"]: entry for entry in listed["models"]}
        nano = by_id["gemini-nano-banana-2.1"]
        assert nano["configured"] and nano["default"]
        assert "16:9" in nano["parameters"]["aspectRatio"]
        assert nano["price"] == {
            "amount": 0.0336,
            "currency": "USD",
            "basis": "computed",
            "reference": 0.00168,
            "date": "2026-11-26",
            "source": "https://ai.google.dev/gemini-api/docs/pricing",
            "uncorroborated": "The tokens of a reference image, about 1120, come from one source.",
        }
        assert by_id["gpt-image-2.6-flare"]["price"]["uncorroborated"]
        assert "dall-e-3" not in by_id
        assert not by_id["gpt-image-2"]["configured"]
        assert by_id["meta/muse-image"]["price"] == {"amount": None, "currency": "USD", "basis": "unknown"}
        assert [entry["enhances"] for entry in listed["textModels"]] == [True, False, False, False]

    def test_what_ends_within_60_days_is_warned_of(self) -> None:
        listed = model_list(ModelRegistry.load(day=lambda: TODAY), ProviderKeys(Secrets(), "keys").has_credentials)
        for entry in listed["models"]:
            assert ("warning" in entry) == ("2026-11-23" < entry.get("shutdown", "9999") <= "2027-01-22")
        assert any("gpt-image-2.6-flare" in entry.get("warning", "") for entry in listed["models"])

    def test_nothing_secret_is_listed(self) -> None:
        text = json.dumps(model_list(ModelRegistry.load(), ProviderKeys(Secrets(), "keys").has_credentials))
        assert "API_KEY" not in text and '"k"' not in text
