"""Reference images on the page: pasted, dropped, chosen, and taken from earlier results."""

import base64
import io
import json
import re
from collections.abc import Callable
from typing import Any

from PIL import Image, ImageDraw
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from tests.browser.conftest import Visit, Visitor
from tests.browser.test_page import axe, defaults, tile
from tests.integration.conftest import Service
from tests.shipped import OTHER

Shoot = Callable[[Page, str], None]

NINTH = "FLUX.2 Max"
UNABLE = "Stable Image Core (Bedrock)"
# Drops or pastes files that are made in the page.
BRING = """([kind, files, text, padding]) => {
  const data = new DataTransfer();
  for (const [name, type, bytes] of files) {
    const parts = [Uint8Array.from(atob(bytes), (letter) => letter.charCodeAt(0)), new Uint8Array(padding)];
    data.items.add(new File(parts, name, { type }));
  }
  if (text) data.setData("text/plain", text);
  const target = document.querySelector(kind === "paste" ? "textarea" : "main");
  const options = { bubbles: true, cancelable: true };
  if (kind === "paste") return target.dispatchEvent(new ClipboardEvent("paste", { ...options, clipboardData: data }));
  target.dispatchEvent(new DragEvent("dragover", { ...options, dataTransfer: data }));
  const hint = document.querySelector(".drop").checkVisibility();
  target.dispatchEvent(new DragEvent("drop", { ...options, dataTransfer: data }));
  return hint;
}"""


def photo(kind: str = "JPEG", size: tuple[int, int] = (1200, 800), color: str = "teal") -> bytes:
    """A sun over a hill, and a sky of this color."""
    width, height = size
    image = Image.new("RGB", size, color)
    draw = ImageDraw.Draw(image)
    draw.ellipse((width // 2, height // 6, width * 3 // 4, height // 6 + width // 4), "gold")
    draw.ellipse((-width // 4, height // 2, width, height * 2), "darkolivegreen")
    draw.ellipse((width // 3, height * 3 // 5, width * 3 // 2, height * 2), "olivedrab")
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def bring(page: Page, kind: str, *files: tuple[str, str, bytes], text: str = "", padding: int = 0) -> Any:
    """Drop or paste files; whether the page showed that it accepts them, or left the event to the browser.

    Each file is longer by the zeros of ``padding``.
    """
    encoded = [(name, mime_type, base64.b64encode(data).decode()) for name, mime_type, data in files]
    return page.evaluate(BRING, [kind, encoded, text, padding])


def choose(page: Page, *files: tuple[str, str, bytes]) -> None:
    """Choose files as the dialog of the operating system would."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Add images").click()
    chooser.value.set_files([FilePayload(name=name, mimeType=kind, buffer=data) for name, kind, data in files])


def strip(page: Page) -> Locator:
    """The reference images in the form."""
    return page.locator(".composer .references li")


def uploaded(page: Page, number: int = 1) -> None:
    """Wait until so many images are in the form, and all of them are uploaded."""
    expect(strip(page)).to_have_count(number)
    expect(page.locator(".composer progress:visible")).to_have_count(0)


def sent(visit: Visit) -> dict[str, Any]:
    """The body of the last job."""
    body: dict[str, Any] = json.loads(visit.asked("/generate")[-1].post_data or "")
    return body


def shown(page: Page) -> Locator:
    """The images that a job or gallery was made from."""
    return page.locator(".made-from li")


def is_loaded(image: Locator) -> None:
    expect(image).to_have_class("there")
    assert image.evaluate("image => image.naturalWidth") > 0


def is_hidden(page: Page) -> None:
    """The image that a job was made from was uploaded by another browser."""
    reason = "Only the browser that sent this image can show it."
    expect(shown(page).get_by_role("img")).to_have_attribute("aria-label", f"Reference image: {reason}")


def test_a_pasted_image_is_edited_by_nine_models_and_one_of_the_results_again(
    visit: Visit, service: Service, shoot: Shoot
) -> None:
    page = visit.open()
    visit.context.grant_permissions(["clipboard-read", "clipboard-write"])
    png = base64.b64encode(photo("PNG")).decode()
    page.evaluate(
        "async (text) => navigator.clipboard.write([new ClipboardItem({ 'image/png':"
        " new Blob([Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0))], { type: 'image/png' }) })])",
        png,
    )
    page.get_by_role("textbox", name="Prompt").focus()
    page.keyboard.press("Control+V")
    uploaded(page)
    is_loaded(strip(page).locator("img"))
    page.get_by_role("button", name="Options").click()
    page.get_by_role("checkbox", name=NINTH).check()
    expect(page.locator(".chosen")).to_have_text(re.compile(r"9 models · about \$0\.\d\d, \d prices unknown"))
    expect(page.locator(".choice", has_text=UNABLE).first).to_contain_text("left out")

    job_id = visit.submit("make it night", tiles=9)
    visit.wait_for_the_end()
    assert len(visit.asked("/uploads")) == 1
    job = service.status(job_id)
    assert [row["status"] for row in job["results"]] == ["completed"] * 9
    (reference,) = job["references"]
    assert (reference["source"], reference["width"], reference["height"]) == ("uploadId", 1200, 800)
    is_loaded(shown(page).locator("img"))
    shoot(page, "edit")

    # Before and after, side by side.
    page.get_by_role("button", name="Compare", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Left image").locator("option:checked")).to_have_text("Reference image")
    expect(dialog.get_by_label("Right image").locator("option:checked")).to_have_text(job["results"][0]["model"])
    for image in dialog.locator("img").all():
        is_loaded(image)
    shoot(page, "before-and-after")
    page.keyboard.press("Escape")

    # This browser has kept the image.
    page.reload()
    is_loaded(shown(page).locator("img"))

    row = job["results"][1]
    tile(page, row["model"]).get_by_role("button", name=f"Edit {row['model']}").click()
    expect(page.get_by_role("textbox", name="Prompt")).to_be_focused()
    expect(page.get_by_role("textbox", name="Prompt")).to_have_attribute("placeholder", "What should change?")
    is_loaded(strip(page).locator("img"))
    page.keyboard.type("now in winter")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(lambda url: not url.endswith(job_id))
    visit.wait_for_the_end()
    again = service.status(page.url.rpartition("/")[2])
    assert again["prompt"] == "now in winter"
    assert [row["status"] for row in again["results"]] == ["completed"] * 8
    assert again["references"][0]["imageKey"] == row["imageKey"]
    assert sent(visit) == {"prompt": "now in winter", "images": [{"imageKey": row["imageKey"]}]}

    # The earlier image has a URL, so everyone sees what became of it, and where it came from.
    image = shown(page).locator("img")
    is_loaded(image)
    image.click()
    expect(page.get_by_role("dialog").locator(".record")).to_contain_text("an earlier image")
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Earlier gallery").click()
    expect(page.locator(".gallery .tile")).to_have_count(9)
    # Whoever sees the gallery need not see what was uploaded.
    is_hidden(page)
    page.get_by_role("link", name="Gallery").click()
    page.locator(".cover").first.click()
    expect(page.locator(".gallery .tile")).to_have_count(8)
    is_loaded(shown(page).locator("img"))


def test_files_are_dropped_and_results_are_dragged_into_the_form(visit: Visit, service: Service) -> None:
    models = [model["name"] for model in defaults(service)[:2]]
    page = visit.follow(service.generate("a red fox", models=models))
    visit.wait_for_the_end()
    assert bring(page, "drop", ("one.jpg", "image/jpeg", photo()), ("two.png", "image/png", photo("PNG"))) is True
    expect(page.locator(".drop")).to_be_hidden()
    uploaded(page, 2)
    tile(page, models[1]).locator("img").drag_to(page.get_by_role("textbox", name="Prompt"))
    uploaded(page, 3)
    page.get_by_role("button", name="Remove two.png").click()
    expect(page.get_by_role("button", name=f"Remove {models[1]}")).to_be_focused()
    visit.submit("the two of them at sea", tiles=8)
    first, second = sent(visit)["images"]
    assert list(first) == ["uploadId"]
    assert second["imageKey"].startswith("group-images/")
    visit.wait_for_the_end()
    # The result has both; each model that accepts only one says so.
    expect(shown(page)).to_have_count(2)


def test_an_image_of_the_gallery_is_edited(visit: Visit, service: Service) -> None:
    job = service.run("a red fox", models=[defaults(service)[0]["name"]])
    page = visit.open()
    page.get_by_role("link", name="Gallery").click()
    page.locator(".cover").first.click()
    page.locator(".gallery .cell").click()
    page.get_by_role("dialog").get_by_role("button", name="Edit this image").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("textbox", name="Prompt")).to_be_focused()
    expect(page.locator(".home h3")).to_have_count(8)
    is_loaded(strip(page).locator("img"))
    page.go_back()
    # A drop there leads to the form as well.
    page.locator(".gallery .tile").wait_for()
    bring(page, "drop", ("one.jpg", "image/jpeg", photo()))
    uploaded(page, 2)
    expect(page.locator(".home")).to_be_visible()
    page.get_by_role("button", name="Remove one.jpg").click()
    visit.submit("in the snow", tiles=8)
    assert sent(visit)["images"] == [{"imageKey": job["results"][0]["imageKey"]}]


def test_what_is_no_reference_image_is_told(visit: Visit, service: Service) -> None:
    page = visit.open()
    gif = io.BytesIO()
    Image.new("P", (8, 8)).save(gif, "GIF")
    alert = page.get_by_role("alert")
    choose(page, ("notes.txt", "text/plain", b"a fox"), ("fox.png", "image/png", gif.getvalue()))
    expect(alert).to_contain_text(
        "notes.txt isn't a PNG, JPEG, or WebP image. fox.png isn't a PNG, JPEG, or WebP image."
    )
    bring(page, "drop", ("big.png", "image/png", photo("PNG")), padding=20 * 1024**2)
    expect(alert).to_contain_text("big.png is too large: the limit is 20 MiB.")
    page.set_viewport_size({"width": 320, "height": 600})
    choose(page, (f"{'a' * 200}.txt", "text/plain", b"a fox"))
    expect(alert).to_contain_text("aaa.txt isn't")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    assert not visit.asked("/uploads")
    choose(page, *((f"{number}.jpg", "image/jpeg", photo()) for number in range(9)))
    expect(alert).to_contain_text("A prompt can have 8 reference images.")
    uploaded(page, 8)
    # The text of an office program comes with an image of itself.
    assert bring(page, "paste", ("image.png", "image/png", photo("PNG")), text="a fox") is True
    assert bring(page, "paste", ("image.png", "image/png", photo("PNG"))) is False


def test_an_upload_that_failed_is_tried_again(visit: Visit, service: Service) -> None:
    visit.tolerated = ("Failed to load", "ERR_")
    page = visit.open()
    form = "**/pixelprompt-*"
    page.route(form, lambda route: route.abort() if route.request.method == "POST" else route.continue_())
    choose(page, ("one.jpg", "image/jpeg", photo()))
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    expect(strip(page)).to_have_attribute("data-state", "failed")
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    assert not visit.asked("/generate")
    page.unroute(form)
    page.get_by_role("button", name="Try again").click()
    uploaded(page)
    expect(strip(page)).not_to_have_attribute("data-state", "failed")
    expect(page.get_by_role("alert")).to_have_count(0)

    def limited(route: Route) -> None:
        body = json.dumps({"error": "RATE_LIMIT_EXCEEDED", "message": "Too many.", "scope": "ip", "retryAfter": 30})
        headers = {"Access-Control-Allow-Origin": "*", "Retry-After": "30", "Content-Type": "application/json"}
        route.fulfill(status=429, body=body, headers=headers)

    page.route("**/uploads", limited)
    choose(page, ("two.jpg", "image/jpeg", photo(color="navy")))
    expect(page.get_by_role("alert")).to_contain_text("Your IP address reached its daily request limit.")
    choose(page, ("three.jpg", "image/jpeg", photo(color="red")))
    expect(page.get_by_role("alert")).to_contain_text("Your IP address reached its daily request limit.")
    page.unroute("**/uploads")
    # What is no longer there is not complained about.
    page.get_by_role("button", name="Remove three.jpg").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    visit.submit("make it night", tiles=8)
    assert len(sent(visit)["images"]) == 2


def test_only_models_that_support_images_edit_them_and_strength_reaches_them(visit: Visit, service: Service) -> None:
    page = visit.open()
    page.get_by_role("button", name="Options").click()
    expect(page.get_by_label("Change")).to_be_hidden()
    page.get_by_role("button", name="None").click()
    page.get_by_role("checkbox", name=UNABLE).check()
    choose(page, ("one.jpg", "image/jpeg", photo()), ("two.jpg", "image/jpeg", photo(color="navy")))
    uploaded(page, 2)
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("None of the chosen models supports reference images.")
    page.get_by_role("checkbox", name="Recraft V3").check()
    expect(page.locator(".choice", has_text="Recraft V3")).to_contain_text("Uses 1 of 2 reference images")
    page.get_by_label("Change").select_option("0.4")
    job_id = visit.submit("make it night", tiles=1)
    body = sent(visit)
    assert (body["models"], body["strength"], len(body["images"])) == (["recraftv3"], 0.4, 2)
    visit.wait_for_the_end()
    (row,) = service.status(job_id)["results"]
    assert row["applied"]["strength"] == 0.4
    assert row["adjusted"]["images"] == {"requested": 2, "used": 1}
    page.locator(".cell").last.click()
    expect(page.get_by_role("dialog").locator(".record")).to_contain_text("reference images: 1 instead of 2")


def test_a_job_with_references_is_used_again_where_they_are_known(visitor: Visitor, service: Service) -> None:
    visit = visitor()
    page = visit.open()
    earlier = service.run("a red fox", models=[OTHER.name])["results"][0]["imageKey"]
    choose(page, ("one.jpg", "image/jpeg", photo()))
    uploaded(page)
    job_id = visit.submit("make it night", tiles=8)
    visit.wait_for_the_end()
    is_loaded(shown(page).locator("img"))
    with page.expect_response("**/uploads"):
        page.get_by_role("button", name="Use again").click()
    visit.submit("make it day", tiles=8)
    assert len(sent(visit)["images"]) == 1

    # Another user sees neither the upload nor a comparison with it.
    other = visitor()
    page = other.follow(job_id)
    is_hidden(page)
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("dialog").get_by_label("Left image").locator("option")).to_have_count(8)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Use again").click()
    expect(page.locator(".toast")).to_contain_text("except: Reference image")
    expect(page.get_by_role("alert")).to_contain_text("Reference image: not in this browser.")

    job_id = service.generate("at night", models=[OTHER.name], images=[{"imageKey": earlier}])
    page = other.follow(job_id)
    is_loaded(shown(page).locator("img"))
    page.get_by_role("button", name="Use again").click()
    other.submit("in the morning", tiles=1)
    assert sent(other)["images"] == [{"imageKey": earlier}]


def test_axe_finds_nothing_serious_in_reference_images(visitor: Visitor, service: Service) -> None:
    # Their colors are those that the page is checked for in both schemes.
    visit = visitor(color_scheme="dark", bypass_csp=True, reduced_motion="reduce")
    page = visit.open()
    page.route("**/uploads", lambda route: None)
    choose(page, ("one.jpg", "image/jpeg", photo()))
    page.locator(".composer progress:visible").wait_for()
    axe(page)
    page.unroute_all(behavior="ignoreErrors")
    page.get_by_role("button", name="Remove one.jpg").click()
    choose(page, ("two.jpg", "image/jpeg", photo()))
    uploaded(page)
    page.get_by_role("button", name="Options").click()
    axe(page)
    visit.submit("make it night", tiles=8)
    visit.wait_for_the_end()
    is_loaded(shown(page).locator("img"))
    axe(page)
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 600})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name="Compare", exact=True).click()
    axe(page)


def test_a_prompt_that_is_sent_at_once_has_the_image_that_was_just_pasted(visit: Visit, service: Service) -> None:
    page = visit.open()
    held: list[Route] = []
    page.route("**/references.js", lambda route: held.append(route))
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    bring(page, "paste", ("image.png", "image/png", photo("PNG")))
    page.get_by_role("textbox", name="Prompt").press("Control+Enter")
    page.wait_for_timeout(200)
    assert not visit.asked("/generate")
    held[0].continue_()
    page.locator(".job[data-status]").wait_for()
    assert len(sent(visit)["images"]) == 1


def test_an_image_that_is_removed_while_it_is_uploaded_is_not_waited_for(visit: Visit, service: Service) -> None:
    visit.tolerated = ("Failed to load", "ERR_")
    page = visit.open()
    choose(page, ("one.jpg", "image/jpeg", photo()))
    uploaded(page)
    page.route("**/uploads", lambda route: None)
    # Its name says less than its bytes.
    choose(page, ("page.html", "text/html", photo("PNG")))
    expect(strip(page)).to_have_count(2)
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Uploading …")).to_be_visible()
    assert json.loads(visit.asked("/uploads")[-1].post_data or "") == {"contentType": "image/png"}
    page.get_by_role("button", name="Remove page.html").click()
    page.locator(".job[data-status]").wait_for()
    assert len(sent(visit)["images"]) == 1


def test_a_prompt_is_not_sent_without_an_image_whose_code_did_not_come(visit: Visit, service: Service) -> None:
    visit.tolerated = ("Failed to load", "ERR_")
    page = visit.open()
    page.route("**/references.js*", lambda route: route.abort())
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    bring(page, "paste", ("image.png", "image/png", photo("PNG")))
    page.get_by_role("textbox", name="Prompt").press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    page.get_by_role("textbox", name="Prompt").press("End")
    page.keyboard.type(" soon")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
    assert not visit.asked("/generate")
    page.unroute("**/references.js*")
    page.get_by_role("button", name="Try again").click()
    uploaded(page)
    page.get_by_role("button", name="Generate").click()
    page.locator(".job[data-status]").wait_for()
    assert len(sent(visit)["images"]) == 1


def test_a_job_shows_what_was_sent_and_not_what_the_form_has_now(visit: Visit, service: Service) -> None:
    page = visit.open()
    held: list[Route] = []
    page.route("**/generate", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    choose(page, ("one.png", "image/png", photo("PNG", (40, 20))), ("two.png", "image/png", photo("PNG", (300, 300))))
    uploaded(page, 2)
    page.get_by_role("textbox", name="Prompt").fill("make it night")
    with page.expect_request(lambda request: request.url.endswith("/generate") and request.method == "POST"):
        page.get_by_role("button", name="Generate").click()
    page.get_by_role("button", name="Remove one.png").click()
    held[0].continue_()
    page.locator(".job[data-status]").wait_for()
    expect(shown(page).locator("img.there")).to_have_count(2)
    widths = [image.evaluate("image => image.naturalWidth") for image in shown(page).locator("img").all()]
    assert widths == [40, 300]
    # The models got JPEGs of them.
    shown(page).first.locator("button").click()
    with page.expect_download() as download:
        page.get_by_role("dialog").get_by_role("button", name="Download").click()
    assert download.value.suggested_filename.endswith(".png")


def test_use_again_while_images_are_uploaded_sends_nothing(visit: Visit, service: Service) -> None:
    earlier = service.run("a red fox", models=[OTHER.name])["results"][0]["imageKey"]
    page = visit.follow(service.generate("at night", models=[OTHER.name], images=[{"imageKey": earlier}]))
    visit.wait_for_the_end()
    held: list[Route] = []
    page.route("**/uploads", lambda route: held.append(route))
    choose(page, *((f"{number}.jpg", "image/jpeg", photo()) for number in range(8)))
    expect(strip(page)).to_have_count(8)
    # There is no room for a ninth.
    page.get_by_role("button", name=f"Edit {OTHER.name}").click()
    expect(page.get_by_role("alert")).to_contain_text("A prompt can have 8 reference images.")
    assert page.locator(".toast").is_hidden()
    page.get_by_role("textbox", name="Prompt").fill("make it day")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("button", name="Uploading …")).to_be_visible()
    page.get_by_role("button", name="Use again").click()
    expect(page.get_by_role("button", name="Generate")).to_be_visible()
    uploaded(page)
    assert not visit.asked("/generate")
    visit.submit("in the morning", tiles=1)
    assert sent(visit)["images"] == [{"imageKey": earlier}]


def test_what_is_in_the_form_survives_a_reload(visit: Visit, service: Service) -> None:
    page = visit.follow(service.generate("a red fox", models=[OTHER.name]))
    visit.wait_for_the_end()
    page.get_by_role("button", name=f"Edit {OTHER.name}").click()
    choose(page, ("one.jpg", "image/jpeg", photo()))
    uploaded(page, 2)
    page.get_by_role("textbox", name="Prompt").fill("the two of them at sea")
    page.reload()
    uploaded(page, 2)
    for image in strip(page).locator("img").all():
        is_loaded(image)
    page.get_by_role("button", name=f"Remove {OTHER.name}").click()
    page.reload()
    uploaded(page)
    page.get_by_role("button", name="Generate").click()
    page.locator('.job[aria-busy="true"]').wait_for()
    assert (sent(visit)["prompt"], [list(image) for image in sent(visit)["images"]]) == (
        "the two of them at sea",
        [["uploadId"]],
    )
