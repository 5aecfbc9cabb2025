"""The providers' own lists of models."""

from local.catalogue import provider_lists
from local.catalogue.price_lists import PriceList
from tests.canned import Answer, Asked, Canned


def answer(asked: Asked) -> Answer:
    """What OpenAI, Gemini, xAI and OpenRouter answer, by the path."""
    if asked.path.startswith("/openai/"):
        assert asked.headers["authorization"] == "Bearer key-of-openai"
        models = [
            {"id": "gpt-image-2", "shutdown_date": "2027-01-31"},
            {"id": "gpt-6", "shutdown_date": None},
            {"id": "gpt-image-edit"},
            {"id": "\x1b[2J"},
        ]
        return Answer(content={"data": models})
    if asked.path.startswith("/gemini/"):
        assert asked.path == "/gemini/v1beta/models?pageSize=1000"
        assert asked.headers["x-goog-api-key"] == "key-of-gemini"
        return Answer(content={"models": [{"name": "models/gemini-x-image"}, {"name": "models/gemini-x"}]})
    if asked.path == "/openrouter/images/models":
        return Answer(content={"data": [{"id": "maker/picture"}]})
    return Answer(401, {"error": "key-of-xai is wrong"})


def own_lists(environment: dict[str, str]) -> tuple[dict[str, PriceList], list[str]]:
    with Canned(answer) as server:
        endpoints = {name: f"{server.url}/{name.partition('_')[0].lower()}" for name in provider_lists.KEY_NAMES}
        lists, left_out = provider_lists.read(environment, endpoints)
    return {found.name: found for found in lists}, left_out


def test_the_providers_own_lists_and_one_that_fails() -> None:
    keys = {name: f"key-of-{name.partition('_')[0].lower()}" for name in provider_lists.KEY_NAMES}
    lists, left_out = own_lists(keys)
    assert [(found.own, found.images) for found in lists.values()] == [
        ("openai", 1), ("gemini", 1), ("compatible/openrouter", 1),
    ]  # fmt: skip
    entry = lists["OpenAI's own list"].find("openai", "gpt-image-2")
    assert entry and (entry.shutdown, entry.shutdown_source) == ("2027-01-31", "https://api.openai.com/v1/models")
    (sentence,) = left_out
    assert sentence.startswith("xAI: ") and "XAI_API_KEY" in sentence
    assert not any(key in sentence for key in keys.values())


def test_without_keys_it_says_which_variable_would_add_a_list() -> None:
    lists, left_out = own_lists({"OPENAI_API_KEY": " "})
    assert not lists
    assert [sentence.split("set ")[1] for sentence in left_out] == [
        f"{name} to add it." for name in provider_lists.KEY_NAMES
    ]
