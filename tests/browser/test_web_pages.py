"""The shell in a real browser: both languages, both themes, print, and the pieces that pages are made of."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from evident_core.services import Vertical
from evident_core.settings import Settings, load
from evident_core.web.service import create_landing
from specimen_service import specimen

pytestmark = pytest.mark.browser


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path / "data"}, web={"max_upload_mib": 1})


@pytest.fixture
def landing(settings: Settings, serve, monkeypatch) -> str:
    absent = Vertical(
        name="absent",
        title={"en": "Chest CT to report", "zh": "胸部 CT 报告"},
        summary={"en": "A study in, a draft report out.", "zh": "输入影像检查，得到报告草稿。"},
        app="a_package_that_is_not_here:create_app",
        cli="",
        requires=("a_package_that_is_not_here",),
    )
    here = Vertical(
        name="specimen", title=specimen.title, summary=specimen.summary, app="specimen_service:create", cli=""
    )
    return serve(create_landing(settings, {"absent": absent, "specimen": here}))


def background(page: Page) -> str:
    return page.evaluate("getComputedStyle(document.body).backgroundColor")


def test_landing_leads_to_a_service(landing, open_page, shoot):
    page = open_page()
    page.goto(landing)
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing is written that cannot be pointed at.")
    expect(page.get_by_text("pip install 'evident[absent]'")).to_be_visible()
    shoot(page, "landing-en-light")
    page.get_by_role("link", name="Annual report to risk report").click()
    expect(page).to_have_url(f"{landing}/specimen/")
    shoot(page, "service-en-light")
    page.get_by_role("link", name="Evident", exact=True).click()
    expect(page).to_have_url(f"{landing}/")


def test_language_is_kept_from_page_to_page(landing, open_page, shoot):
    page = open_page()
    page.goto(landing)
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    shoot(page, "landing-zh-light")
    page.get_by_role("link", name="年报风险分析").click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-Hans")
    shoot(page, "service-zh-light")


def test_language_follows_the_browser(landing, open_page):
    page = open_page(locale="zh-CN")
    page.goto(landing)
    expect(page.get_by_role("heading", level=1)).to_have_text("凡所书写，皆有出处。")


def test_theme_changes_at_once_and_is_kept(landing, open_page, shoot):
    page = open_page(color_scheme="light")
    page.goto(landing)
    light = background(page)
    page.get_by_role("link", name="Dark").click()
    assert background(page) != light
    dark = background(page)
    shoot(page, "landing-en-dark")
    page.goto(f"{landing}/specimen/report")
    assert background(page) == dark
    shoot(page, "report-en-dark", full_page=False)
    page.get_by_role("link", name="Light").click()
    assert background(page) == light


def test_theme_follows_the_system(landing, open_page):
    page = open_page(color_scheme="dark")
    page.goto(landing)
    dark = background(page)
    page.emulate_media(color_scheme="light")
    assert background(page) != dark


def test_pages_work_without_javascript(landing, open_page, tmp_path, shoot):
    page = open_page(java_script_enabled=False)
    page.goto(f"{landing}/specimen/")
    page.get_by_role("link", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("link", name="中文").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    shoot(page, "service-zh-dark-no-javascript")
    file = tmp_path / "report.pdf"
    file.write_bytes(b"%PDF-1.7")
    page.set_input_files("input[type=file]", file)
    with page.expect_response("**/upload") as answer:
        page.locator("[data-send]").click()
    assert answer.value.status == 201


def test_pointing_at_a_number_lights_its_place(landing, open_page, shoot):
    page = open_page()
    page.goto(f"{landing}/specimen/report")
    label = page.locator("[data-page-label]")
    expect(label).to_have_text("Page 12")
    page.get_by_role("link", name="(1,204)").first.hover()
    expect(label).to_have_text("Page 13")
    lit = page.locator(".viewer .lit")
    expect(lit).to_have_attribute("y", "598")
    expect(page.locator(".viewer img")).to_have_attribute("src", "/specimen/pages/13.svg")
    shoot(page, "report-en-light", full_page=False)

    page.get_by_role("link", name="32,765", exact=True).click()
    page.get_by_role("link", name="(1,204)").first.hover()
    page.wait_for_timeout(300)
    expect(label).to_have_text("Page 12")  # pinned
    page.keyboard.press("Escape")
    page.get_by_role("link", name="14.2%").first.focus()
    expect(label).to_have_text("Page 3")
    page.get_by_role("button", name="Next page").click()
    expect(label).to_have_text("Page 4")
    expect(lit).to_have_count(0)


def test_report_prints_without_furniture(landing, open_page, shoot):
    page = open_page(color_scheme="dark")
    page.goto(f"{landing}/specimen/report")
    page.emulate_media(media="print", color_scheme="dark")
    assert background(page) == "rgb(255, 255, 255)"
    expect(page.locator(".bar-tools")).to_be_hidden()
    expect(page.locator(".viewer")).to_be_hidden()
    shoot(page, "report-en-print")
    assert page.evaluate("getComputedStyle(document.querySelector('.evidence'), '::after').content") == '" [3]"'


def test_dialog_opens(landing, open_page):
    page = open_page()
    page.goto(f"{landing}/specimen/report")
    page.locator("[data-opens]").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()


def test_a_dropped_file_is_sent_and_its_report_opens(landing, open_page, tmp_path):
    page = open_page()
    page.goto(f"{landing}/specimen/")
    drop = """name => {
        const transfer = new DataTransfer();
        transfer.items.add(new File(["%PDF-1.7"], name, {type: "application/pdf"}));
        const dropped = new DragEvent("drop", {dataTransfer: transfer, bubbles: true});
        document.querySelector(".dropzone").dispatchEvent(dropped);
    }"""
    page.evaluate(drop, "报告 2025.pdf")
    expect(page).to_have_url(f"{landing}/specimen/report")


def test_a_refused_file_is_told_in_place(landing, open_page, tmp_path, shoot):
    page = open_page(expect_errors=True)
    page.goto(f"{landing}/specimen/")
    wrong = tmp_path / "renamed.pdf"
    wrong.write_bytes(b"<html>")
    page.set_input_files("input[type=file]", wrong)
    problem = page.locator(".dropzone [data-problem]")
    expect(problem).to_have_text("This file begins like no PDF; send the annual report as a PDF.")
    shoot(page, "upload-refused-en")

    large = tmp_path / "large.pdf"
    large.write_bytes(b"%PDF" + bytes(2 << 20))
    page.set_input_files("input[type=file]", large)
    expect(problem).to_have_text("This file is larger than 1 MiB. Choose a smaller one.")
    other = tmp_path / "sheet.xlsx"
    other.write_bytes(b"PK")
    page.set_input_files("input[type=file]", other)
    expect(problem).to_contain_text("This kind of file is not read here")


def test_errors_are_pages_for_people(landing, open_page, shoot):
    page = open_page(expect_errors=True)
    answer = page.goto(f"{landing}/specimen/nothing-here")
    assert answer is not None
    assert answer.status == 404
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    shoot(page, "problem-en")
    page.goto(f"{landing}/specimen/nothing-here?lang=zh")
    expect(page.get_by_role("heading", level=1)).to_have_text("未找到")
    page.get_by_role("link", name="返回首页").click()
    expect(page).to_have_url(f"{landing}/specimen/")


def test_documentation_of_the_api_is_there_offline(landing, open_page, shoot):
    page = open_page()
    page.goto(f"{landing}/specimen/docs")
    expect(page.get_by_role("heading", name="Correct a value")).to_be_visible()
    shoot(page, "docs-en", full_page=False)
    page.get_by_role("link", name="Correct a value").click()
    expect(page.get_by_role("heading", name="Correct a value")).to_be_in_viewport()
    page.goto(f"{landing}/specimen/docs?lang=zh")
    expect(page.get_by_text("请求体").or_(page.get_by_text("数据结构")).first).to_be_visible()


@pytest.mark.parametrize("width", [360, 768])
def test_no_page_is_wider_than_the_screen(landing, open_page, shoot, width):
    page = open_page(viewport={"width": width, "height": 740}, expect_errors=True)
    for path in ("/", "/specimen/", "/specimen/report", "/specimen/docs", "/specimen/nothing"):
        page.goto(landing + path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        shoot(page, f"narrow-{width}-{path.rpartition('/')[2] or 'home'}")


# Each text against what is painted behind it: WCAG 2.2 AA asks for 4.5, and for 3 where it is large.
CONTRASTS = """() => {
    const rgba = (text) => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        return [r, g, b, a];
    };
    const over = ([r, g, b, a], [R, G, B]) => [r * a + R * (1 - a), g * a + G * (1 - a), b * a + B * (1 - a), 1];
    const behind = (element) => {
        const own = rgba(getComputedStyle(element).backgroundColor);
        if (own[3] === 1) return own;
        return over(own, element.parentElement ? behind(element.parentElement) : [255, 255, 255, 1]);
    };
    const light = (colour) => {
        const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = colour.slice(0, 3).map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const found = [];
    for (const element of document.body.querySelectorAll("*")) {
        const text = [...element.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data.trim()).join("");
        if (!text || element.closest("svg") || !element.checkVisibility()) continue;
        const style = getComputedStyle(element);
        const back = behind(element);
        const [a, b] = [light(over(rgba(style.color), back)), light(back)];
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 600);
        found.push({ text: text.slice(0, 40), ratio: (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), large });
    }
    return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(landing, open_page, scheme):
    page = open_page(color_scheme=scheme, expect_errors=True)
    for path in ("/", "/specimen/", "/specimen/report", "/specimen/docs", "/specimen/sign-in", "/specimen/nothing"):
        page.goto(landing + path)
        page.wait_for_timeout(200)  # colours that were set in motion have arrived
        texts = page.evaluate(CONTRASTS)
        assert len(texts) > 5
        assert [each for each in texts if each["ratio"] < (3 if each["large"] else 4.5)] == [], path


def test_the_keyboard_reaches_everything_and_shows_where_it_is(landing, open_page):
    page = open_page()
    page.goto(f"{landing}/specimen/report")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    seen = set()
    while True:
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(({tagName, textContent}, {outlineStyle}) => ({tagName, textContent, outlineStyle}))"
            "(document.activeElement, getComputedStyle(document.activeElement))"
        )
        if focused["tagName"] == "BODY":
            break
        assert focused["outlineStyle"] == "solid", focused
        seen.add(focused["textContent"].strip())
    assert {"Evident", "中文", "Print", "32,765", "(1,204)"} <= seen


def test_every_page_has_one_heading_and_names_for_its_parts(landing, open_page):
    page = open_page(expect_errors=True)
    for path in ("/", "/specimen/", "/specimen/report", "/specimen/docs", "/specimen/sign-in", "/specimen/nothing"):
        page.goto(landing + path)
        expect(page.get_by_role("heading", level=1)).to_have_count(1)
        expect(page.get_by_role("main")).to_have_count(1)
        nameless = page.locator("img:not([alt]), button:not([aria-label]):empty, a:not([aria-label]):empty")
        expect(nameless).to_have_count(0)
        unlabelled = page.evaluate(
            "[...document.querySelectorAll('input:not([type=hidden]), select, textarea')]"
            ".filter((e) => !e.labels.length && !e.getAttribute('aria-label')).length"
        )
        assert unlabelled == 0, path


def test_a_page_of_another_size_is_measured_by_its_own(landing, open_page):
    page = open_page()
    page.goto(f"{landing}/specimen/report")
    overlay = page.locator(".viewer-page svg")
    expect(overlay).to_have_attribute("viewBox", "0 0 612 792")
    page.get_by_role("link", name="14.2%").first.click()
    expect(overlay).to_have_attribute("viewBox", "0 0 595 842")
