"""The inspection pages in a real browser, beside a real worker: one happy path each, with a screenshot."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.server import EmbeddedWorker
from evident_manufacturing.app import create_app
from evident_manufacturing.samples import samples

pytestmark = pytest.mark.browser
LONG = 60_000
READY = ".questions[aria-busy=false]"
"""The queue, once its first question has been on the screen and an answer to it is taken."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")}, jobs={"workers": 1})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    with EmbeddedWorker(settings):
        yield create_app(settings)


@pytest.fixture(scope="module")
def line(app: Flask) -> dict[str, str]:
    """All sample boards, inspected: part id -> job id."""
    client = app.test_client()
    client.post("/samples")
    frame: Frame = app.extensions["evident"]
    for job in client.get("/jobs").json["jobs"]:
        for _ in frame.jobs.follow(job["id"], "local"):
            pass
    return {each["part_id"]: each["job_id"] for each in client.get("/line").json["last"]}


@pytest.fixture
def url(app: Flask, serve) -> str:
    return serve(app)


def as_wide_as_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_dropped_board_is_inspected_and_the_open_line_learns_of_it(url, line, open_page, shoot):
    watching, page = open_page(), open_page()
    watching.goto(url)
    expect(watching.locator(".live-mark")).to_be_visible()
    before = watching.locator("[data-tile=boards] .tile-value").inner_text()
    page.goto(url)
    page.locator("details.judged-by summary").click()
    page.locator("select[name=template_id]").click(timeout=5_000)  # nothing lies over it
    page.keyboard.press("Escape")
    page.set_input_files("input[name=template]", samples()["board_4_small_defects"].template)
    page.get_by_label("Part id").fill("SN-77")
    page.set_input_files("input[name=file]", samples()["board_4_small_defects"].board)
    expect(page.locator("article.report h1")).to_have_text("SN-77", timeout=LONG)
    expect(watching.locator(".boards li").first).to_contain_text("SN-77", timeout=LONG)
    expect(watching.locator("[data-tile=boards] .tile-value")).to_have_text(str(int(before) + 1))
    shoot(watching, "manufacturing-home-en")


def test_pointing_at_a_sentence_lights_its_box_and_its_row(url, line, open_page, shoot):
    page = open_page()
    page.goto(f"{url}/boards/{line['board_1']}")
    page.locator(".pair .evidence[data-evidence='defect.3.length']:visible").first.hover()
    expect(page.locator("[data-box='3']")).to_have_class(re.compile(r"\blit\b"))
    expect(page.locator(".box.lit")).to_have_count(1)
    expect(page.locator("[data-row='3']")).to_have_class(re.compile("shown"))
    shoot(page, "manufacturing-board-en", full_page=False)
    page.locator("[data-box='2'] rect").hover()
    expect(page.locator("[data-row='2']")).to_have_class(re.compile("shown"))


def test_past_defects_like_a_chosen_one_are_shown_without_javascript(url, line, open_page, shoot):
    page = open_page(java_script_enabled=False)
    page.goto(f"{url}/boards/{line['board_1']}")
    page.locator("[data-row='5']").get_by_role("link", name="Similar ones").click()
    expect(page.locator("#similar li")).to_have_count(5)
    expect(page.locator("#similar li").first).to_contain_text("not reviewed")
    assert as_wide_as_the_screen(page)
    shoot(page, "manufacturing-similar-en", full_page=False)
    page.locator("#similar li a").first.click()
    expect(page).to_have_url(re.compile(r"#box-\d+$"))


def test_without_javascript_the_template_blinks_and_a_number_opens_its_box(url, line, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{url}/boards/{line['board_1']}")
    template = page.locator(".board-svg .template")
    expect(template).to_be_hidden()
    page.locator("label[for=view-template]").click()
    expect(template).to_be_visible()
    page.locator("label[for=view-blink]").click()
    expect(template).to_have_css("animation-name", "blink")
    page.locator("label[for=view-boxes]").click()
    expect(page.locator(".boxes")).to_be_hidden()
    page.locator("label[for=view-boxes]").click()
    page.locator(".pair .evidence[data-evidence='defect.3.length']:visible").first.click()
    expect(page).to_have_url(re.compile("#box-3$"))
    expect(page.locator("#box-3 rect")).to_have_css("stroke-width", "4px")


def test_who_wants_no_motion_sees_both_at_once(url, line, open_page):
    page = open_page(reduced_motion="reduce")
    page.goto(f"{url}/boards/{line['board_1']}")
    page.locator("label[for=view-blink]").click()
    template = page.locator(".board-svg .template")
    expect(template).to_have_css("animation-name", "none")
    expect(template).to_have_css("opacity", "0.5")


def test_a_defect_is_confirmed_in_the_queue(url, line, open_page, shoot):
    page = open_page(locale="zh-CN", color_scheme="dark")
    page.goto(f"{url}/review")
    shoot(page, "manufacturing-review-zh-dark", full_page=False)
    first = page.locator(".question").first
    asked = first.get_attribute("id")
    expect(page.locator(READY)).to_be_visible()
    first.get_by_role("button", name="是缺陷", exact=True).click()
    expect(page.locator(f"[id='{asked}']")).to_have_count(0)
    expect(page.locator("[data-left]")).to_contain_text("已标注 1")


def test_a_missed_defect_is_drawn_on_the_picture(app, url, line, open_page, shoot):
    page = open_page()
    page.goto(f"{url}/boards/{line['board_6_displaced']}")
    page.get_by_role("button", name="Draw a missed defect").first.click()
    expect(page.get_by_text("Drag a box around it")).to_be_visible()
    at = page.locator("#board-svg").bounding_box()
    scale = at["width"] / 640
    page.mouse.move(at["x"] + 60 * scale, at["y"] + 50 * scale)
    page.mouse.down()
    page.mouse.move(at["x"] + 20 * scale, at["y"] + 20 * scale, steps=3)
    shoot(page, "manufacturing-drawing-en", full_page=False)
    page.mouse.up()
    drawn = [float(each) for each in page.locator("input[name=box]").input_value().split()]
    assert drawn == pytest.approx([20, 20, 60, 50], abs=2)
    expect(page.locator("#missed select")).to_be_focused()
    page.locator("#missed select").select_option("spur")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator("#section-labels")).to_contain_text("added: spur")
    labels = app.test_client().get(f"/boards/{line['board_6_displaced']}/labels").json["labels"]
    assert labels[-1]["bbox"] == drawn
    page.locator("#row-added-1 .evidence").hover()
    expect(page.locator("#added-1")).to_have_class(re.compile(r"\blit\b"))
    shoot(page, "manufacturing-added-en", full_page=False)


def test_without_javascript_a_box_is_typed_and_a_board_called_clean(url, line, open_page, shoot):
    page = open_page(java_script_enabled=False, expect_errors=True)
    page.goto(f"{url}/boards/{line['board_5_clean']}")
    page.locator("#missed summary").click()
    expect(page.locator("[data-draw]").first).to_be_hidden()
    page.locator("#missed select").select_option("spur")
    page.locator("input[name=box]").fill("600 600 700 660")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("does not lie on the board")
    expect(page.locator("input[name=box]")).to_have_value("600 600 700 660")
    expect(page.locator("#missed select")).to_have_value("spur")
    shoot(page, "manufacturing-refused-box-en", full_page=False)
    page.locator("input[name=box]").fill("120, 80 160 110")
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("button", name="Clean: nothing here").click()
    expect(page.locator("#section-labels")).to_contain_text("clean: nothing here")
    expect(page.get_by_role("button", name="Clean: nothing here")).to_be_disabled()
    page.locator("#section-labels li").nth(1).get_by_role("button", name="Take back").click()
    expect(page.locator("#section-labels del")).to_have_text("clean: nothing here")
    expect(page.get_by_role("button", name="Clean: nothing here")).to_be_enabled()


def test_the_queue_is_answered_by_key(url, line, open_page):
    page = open_page()
    page.goto(f"{url}/review")
    first = page.locator(".question").first
    expect(first.get_by_role("button", name="Is a defect")).to_be_focused()
    expect(page.get_by_text("Keys: Y is a defect")).to_be_visible()
    for key, place in (("y", 0), ("n", 1), ("4", 0)):
        expect(page.locator(READY)).to_be_visible()
        asked = page.locator(".question").nth(place).get_attribute("id")
        for _ in range(place):
            page.keyboard.press("j")
        page.keyboard.press(key)
        expect(page.locator(f"[id='{asked}']")).to_have_count(0)
        expect(page.locator(".question").first.get_by_role("button", name="Is a defect")).to_be_focused()
        if place == 1:  # the wrong key
            expect(page.locator(READY)).to_be_visible()
            page.keyboard.press("u")
            expect(page.locator(".question").first).to_have_id(asked)
            expect(page.locator(".question").first.get_by_role("button", name="Is a defect")).to_be_focused()
    expect(page.locator(READY)).to_be_visible()
    asked = page.locator(".question").first.get_attribute("id")
    page.keyboard.press("c")
    expect(page.locator(f"[id='{asked}']").get_by_role("button", name="Yes, the board is clean")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(f"[id='{asked}']")).to_have_count(0)


def test_keys_pressed_fast_answer_the_question_that_was_seen_and_no_other(app, url, line, open_page):
    client = app.test_client()

    def labels() -> list[tuple[str, int, str]]:
        boards = [each["job_id"] for each in client.get("/line").json["last"] if each["decision"]]
        found = {job_id: client.get(f"/boards/{job_id}/labels").json["labels"] for job_id in boards}
        return [(job_id, each["defect"], each["action"]) for job_id, them in found.items() for each in them]

    page, sent = open_page(), []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    page.goto(f"{url}/review")
    expect(page.locator(READY)).to_be_visible()
    before = labels()
    for number, pause in enumerate((20, 110), 1):
        known, asked = labels(), page.locator(".question").first.get_attribute("id")
        for key in "ynyn":
            page.keyboard.press(key)
            page.wait_for_timeout(pause)
        expect(page.locator(f"[id='{asked}']")).to_have_count(0)
        expect(page.locator("[data-early]")).to_be_visible()
        expect(page.locator(READY)).to_be_visible()
        job_id, _, defect = asked.removeprefix("question-").rpartition("-")
        assert [each for each in labels() if each not in known] == [(job_id, int(defect), "confirm")]
        assert len(sent) == number
    # A key that is held: repeats are no answers, however long.
    asked = page.locator(".question").first.get_attribute("id")
    for _ in range(20):
        page.keyboard.down("y")
        page.wait_for_timeout(40)
    page.keyboard.up("y")
    expect(page.locator(f"[id='{asked}']")).to_have_count(0)
    expect(page.locator(READY)).to_be_visible()
    assert (len(labels()), len(sent)) == (len(before) + 3, 3)
    page.keyboard.press("n")  # one that was seen
    expect(page.locator(READY)).to_be_visible()
    expect(page.locator("[data-early]")).to_be_hidden()
    assert len(labels()) == len(before) + 4


def test_the_models_page_says_what_inspects(url, line, open_page, shoot):
    page = open_page()
    page.goto(f"{url}/models")
    expect(page.locator(".model[data-state='in use']").first).to_contain_text("ships with Evident")
    page.get_by_text("Retrain on the label set").first.click()
    shoot(page, "manufacturing-models-en")


def test_a_specification_is_tried_on_past_boards_and_kept(url, line, open_page, shoot):
    page = open_page(expect_errors=True)
    page.goto(f"{url}/specification")
    area = page.get_by_label("The specification, as YAML")
    text = area.input_value()
    area.fill(text.replace("0.50 mm,", "0.50 inch,"))
    page.get_by_role("button", name="Check and try on past boards").click()
    expect(page.get_by_role("alert")).to_contain_text("inch")
    expect(page.locator("li.wrong")).to_contain_text("0.50 inch")
    shoot(page, "manufacturing-specification-wrong-en")
    area.fill("product: demo-board\nversion: 2\ndefault: accept\n")
    page.get_by_role("button", name="Check and try on past boards").click()
    expect(page.locator("#preview")).to_have_text("What demo-board@2 would have decided")
    shoot(page, "manufacturing-specification-try-en")
    page.get_by_role("button", name="Keep as a version").click()
    expect(page.locator(".versions [aria-current]")).to_have_text("demo-board@2")


def test_the_report_is_whole_on_a_phone_in_the_dark_and_on_paper(app, line, open_page, shoot, tmp_path):
    file = tmp_path / "report.html"
    file.write_bytes(app.test_client().get(f"/boards/{line['board_1']}/files/html").data)
    page = open_page(viewport={"width": 400, "height": 800}, color_scheme="dark")
    page.goto(file.as_uri())
    assert as_wide_as_the_screen(page)
    # The table is wider, and is moved within itself.
    assert page.evaluate("(each => each.scrollWidth > each.clientWidth)(document.querySelector('.scroll'))")
    colours = "(({ backgroundColor, color }) => [backgroundColor, color])(getComputedStyle(document.body))"
    dark = page.evaluate(colours)
    shoot(page, "manufacturing-report-dark-400", full_page=False)
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 680, "height": 960})  # A4 between its margins
    printed = page.evaluate(colours)
    assert printed[0] == "rgb(255, 255, 255)"
    assert dark[0] != printed[0]
    assert dark[1] != printed[1]
    assert page.evaluate("document.querySelector('#defects').scrollWidth <= document.body.clientWidth")


def test_a_refusal_is_headed_in_the_language_of_the_page(url, line, open_page):
    page = open_page(locale="zh-CN", expect_errors=True)
    page.goto(url)
    page.set_input_files(
        "input[name=specification]", {"name": "s.yaml", "mimeType": "text/yaml", "buffer": b"product: a\nversion: [\n"}
    )
    page.set_input_files("input[name=file]", samples()["board_1"].board)
    expect(page.locator("[data-problem] strong")).to_have_text("输入无效")
    expect(page.locator("[data-problem] [lang=en]")).to_contain_text("is not YAML")


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_the_screen(url, line, open_page, shoot, width):
    page = open_page(viewport={"width": width, "height": 800}, color_scheme="dark", locale="zh-CN")
    paths = {
        "home": "/",
        "board": f"/boards/{line['board_2']}",
        "review": "/review",
        "specification": "/specification",
        "models": "/models",
        "docs": "/docs",
    }
    for name, path in paths.items():
        page.goto(url + path)
        page.wait_for_load_state("networkidle")
        assert as_wide_as_the_screen(page), name
        shoot(page, f"manufacturing-{name}-zh-dark-{width}", full_page=False)
