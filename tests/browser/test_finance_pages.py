"""Every finance page in a real browser, beside a real worker: its happy path and one error, with a screenshot each."""

import io
import re
from collections.abc import Iterator

import pikepdf
import pypdfium2
import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from evident_core.settings import Settings, load
from evident_core.web.frame import Frame
from evident_core.web.server import EmbeddedWorker
from evident_finance.app import create_app
from evident_finance.desk import TASK, samples

pytestmark = pytest.mark.browser
LONG = 60_000


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return load(store={"data_dir": tmp_path_factory.mktemp("data")}, jobs={"workers": 1}, web={"max_upload_mib": 4})


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    with EmbeddedWorker(settings):
        yield create_app(settings)


def submit(app: Flask, data: bytes, name: str) -> str:
    frame: Frame = app.extensions["evident"]
    row = frame.store.put_input(data, name=name, owner="local")
    return frame.jobs.submit(TASK, [row.id], owner="local").id


def read(app: Flask, data: bytes, name: str) -> str:
    """Submit a file and wait for its end; returns the job's id."""
    job_id = submit(app, data, name)
    frame: Frame = app.extensions["evident"]
    for _ in frame.jobs.follow(job_id, "local"):
        pass
    return job_id


@pytest.fixture(scope="module")
def english(app: Flask) -> str:
    return read(app, samples()["larkhaven_2023_10k"].read_bytes(), "larkhaven_2023_10k.pdf")


@pytest.fixture(scope="module")
def chinese(app: Flask) -> str:
    return read(app, samples()["chengyu_2023_annual_report"].read_bytes(), "chengyu_2023_annual_report.pdf")


@pytest.fixture
def url(app: Flask, serve) -> str:
    return serve(app)


def as_wide_as_the_screen(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_sample_becomes_a_report_and_its_first_facts_are_shown(url, open_page, shoot):
    page = open_page()
    page.goto(url)
    shoot(page, "finance-home-en")
    # The first facts stand only until the report follows: they are noted the moment they appear.
    page.add_init_script("""document.addEventListener('evident:progress', ({ detail }) => {
        const note = () => sessionStorage.setItem('first', document.querySelector('[data-partial-list]').innerText);
        if (detail.partial) queueMicrotask(note);
    });""")
    page.get_by_role("button", name="Larkhaven Instruments").click()
    page.wait_for_load_state()
    shoot(page, "finance-job-en")
    expect(page.locator("article.report h1")).to_have_text("LARKHAVEN INSTRUMENTS, INC.", timeout=LONG)
    first = page.evaluate("sessionStorage.getItem('first')")
    assert re.search(r"Revenue · 2023-12-31\s+[\d,]+ USD", first), first


def test_a_file_that_is_no_pdf_is_refused_where_the_reader_waits(url, open_page, tmp_path, shoot):
    page = open_page(locale="zh-CN")
    page.goto(url)
    shoot(page, "finance-home-zh")
    renamed = tmp_path / "renamed.pdf"
    renamed.write_bytes(b"<html>no report</html>")
    page.set_input_files("input[type=file]", renamed)
    expect(page.get_by_text("不支持的文件类型")).to_be_visible(timeout=LONG)
    expect(page.locator("[data-problem]")).to_contain_text("PDF")
    shoot(page, "finance-job-failed-zh")
    page.goto(url)
    expect(page.locator("tbody")).to_contain_text("失败")


def test_a_large_file_is_refused_before_it_is_sent(url, open_page, tmp_path, shoot):
    page = open_page()
    page.goto(url)
    large = tmp_path / "large.pdf"
    large.write_bytes(b"%PDF" + bytes(5 << 20))
    page.set_input_files("input[type=file]", large)
    expect(page.locator("[data-problem]")).to_contain_text("larger than 4 MiB")
    shoot(page, "finance-home-error-en")


def test_a_locked_file_asks_for_its_password_and_says_why_it_has_no_pictures(url, open_page, tmp_path, shoot):
    page = open_page(expect_errors=True)
    locked = tmp_path / "locked.pdf"
    with pikepdf.open(samples()["larkhaven_2023_10k"]) as document:
        document.save(locked, encryption=pikepdf.Encryption(user="open sesame", owner="boss"))
    page.goto(url)
    page.set_input_files("input[type=file]", locked)
    page.get_by_label("Password").fill("wrong", timeout=LONG)
    shoot(page, "finance-password-en")
    page.get_by_role("button", name="Open and read").click()
    expect(page.get_by_text("The password given does not open the file")).to_be_visible(timeout=LONG)
    page.get_by_label("Password").fill("open sesame")
    page.get_by_role("button", name="Open and read").click()
    expect(page.locator("article.report h1")).to_be_visible(timeout=LONG)
    expect(page.locator(".viewer [data-problem]")).to_contain_text("its password was forgotten", timeout=LONG)
    expect(page.locator(".viewer-page")).to_be_hidden()
    shoot(page, "finance-report-locked-en", full_page=False)


def test_pointing_at_a_number_lights_all_it_rests_on(url, english, open_page, shoot):
    page = open_page()
    page.goto(f"{url}/reports/{english}")
    page.locator(".measures [data-evidence='current_ratio@2023-12-31']:visible").hover()
    viewer = page.locator(".viewer")
    expect(viewer.locator(".lit")).to_have_count(2)
    expect(viewer).not_to_have_class(re.compile("loading"), timeout=LONG)
    card = page.locator("[data-evidence-card]")
    expect(card).to_contain_text("Current ratio · 2023-12-31")
    expect(card.locator("li")).to_have_count(2)
    shoot(page, "finance-report-en", full_page=False)
    page.locator("[data-evidence='revenue@2023-12-31']:visible").first.click()
    expect(card).to_contain_text("Revenue · 2023-12-31")
    expect(viewer.locator(".lit")).to_have_count(1)
    page.get_by_role("link", name="Details and correction").click()
    expect(page).to_have_url(f"{url}/reports/{english}/facts/revenue@2023-12-31")


def test_the_box_is_never_shown_on_the_page_before(url, chinese, open_page):
    page = open_page()
    held = []
    page.route(
        "**/pages/*.png", lambda route: held.append(route) if "/16.png" in route.request.url else route.continue_()
    )
    page.goto(f"{url}/reports/{chinese}")
    viewer = page.locator(".viewer")
    expect(viewer).not_to_have_class(re.compile("loading"), timeout=LONG)
    page.locator("[data-evidence='revenue@2023-12-31']:visible").first.click()
    expect(viewer).to_have_class(re.compile("loading"))
    expect(viewer.locator("svg").last).to_be_hidden()
    while not held:
        page.wait_for_timeout(20)
    for route in held:
        route.continue_()
    expect(viewer).not_to_have_class(re.compile("loading"), timeout=LONG)
    expect(viewer.locator(".lit")).to_be_visible()


def test_a_number_is_corrected_and_a_wrong_one_refused(url, app, open_page, shoot):
    job_id = read(app, samples()["larkhaven_2023_10k"].read_bytes() + b"\n", "copy.pdf")
    page = open_page(expect_errors=True)
    page.goto(f"{url}/reports/{job_id}/facts/revenue@2023-12-31")
    expect(page.locator(".viewer .lit")).to_have_count(1)
    page.get_by_label("Value in whole USD").fill("5,000,000,000")
    page.get_by_label("Reason").fill("see note 2")
    page.get_by_role("button", name="Correct and recompute").click()
    expect(page.locator(".fact-value")).to_contain_text("5,000,000,000 USD")
    expect(page.locator(".trail tbody tr")).to_have_count(1)
    shoot(page, "finance-fact-corrected-en")
    page.goto(f"{url}/reports/{job_id}")
    expect(page.locator(".tile .corrected:visible").first).to_have_text("5.0bn")
    expect(page.locator("#section-trail")).to_contain_text("see note 2")
    page.goto(f"{url}/reports/{job_id}/facts/revenue@2023-12-31")
    page.get_by_label("Value in whole USD").fill("a lot")
    page.get_by_role("button", name="Correct and recompute").click()
    expect(page.locator(".problem .lead")).to_contain_text("'a lot' is not a number")
    shoot(page, "finance-fact-refused-en")


def test_what_follows_from_others_says_so_instead_of_a_form(url, english, open_page):
    page = open_page(locale="zh-CN")
    page.goto(f"{url}/reports/{english}/facts/current_ratio@2023-12-31")
    expect(page.get_by_text("此值由其他数字得出")).to_be_visible()
    expect(page.locator("input[name=value]")).to_have_count(0)


def test_questions_are_answered_and_refused_beside_the_report(url, english, open_page, shoot):
    page = open_page()
    page.goto(f"{url}/reports/{english}")
    for asked, said in (("free cash flow 2023", "USD"), ("frea cash flow", "did you mean 'free cash flow'")):
        page.get_by_label("Ask in formulas over facts").fill(asked)
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#answer")).to_contain_text(said)
    shoot(page, "finance-ask-refused-en", full_page=False)


def test_ticked_reports_are_compared(url, english, chinese, open_page, shoot):
    page = open_page(expect_errors=True)
    page.goto(url)
    page.get_by_role("checkbox", name="larkhaven_2023_10k.pdf").first.check()
    page.get_by_role("checkbox", name="chengyu_2023_annual_report.pdf").first.check()
    page.get_by_role("button", name="Compare the ticked reports").click()
    expect(page.get_by_text("compare ratios, not amounts")).to_be_visible()
    shoot(page, "finance-compare-en")
    page.locator("td .evidence").first.click()
    expect(page.locator(".viewer")).to_be_visible()
    page.goto(f"{url}/compare")
    expect(page.locator(".problem .lead")).to_contain_text("0 filings cannot be compared")
    shoot(page, "finance-compare-none-en")


def test_what_is_not_there_is_said_in_chinese_too(url, english, open_page, shoot):
    page = open_page(locale="zh-CN", expect_errors=True)
    for path in ("/reports/nothing", f"/reports/{english}/facts/nothing", f"/reports/{english}/files/odt"):
        page.goto(url + path)
        expect(page.locator(".problem h1")).to_have_text(re.compile("未找到|输入无效"))
    shoot(page, "finance-not-found-zh")


@pytest.mark.parametrize("mode", ["both", "zh"])
def test_the_report_in_chinese_and_dark(url, chinese, open_page, shoot, mode):
    page = open_page(locale="zh-CN", color_scheme="dark")
    page.goto(f"{url}/reports/{chinese}?mode={mode}")
    expect(page.locator(".contents")).to_contain_text("风险矩阵")
    expect(page.locator(".measures td .en:visible")).to_have_count(0)
    shoot(page, f"finance-report-{mode}-zh-dark", full_page=False)


@pytest.mark.parametrize("width", [400, 1280])
def test_no_page_is_wider_than_the_screen(url, english, chinese, open_page, shoot, width):
    page = open_page(viewport={"width": width, "height": 800})
    paths = {
        "home": "/",
        "report": f"/reports/{english}",
        "report-zh": f"/reports/{chinese}?mode=zh",
        "fact": f"/reports/{english}/facts/revenue@2023-12-31",
        "compare": f"/compare?report={english}&report={chinese}",
        "docs": "/docs",
    }
    for name, path in paths.items():
        page.goto(url + path)
        assert as_wide_as_the_screen(page), name
        shoot(page, f"finance-{name}-{width}", full_page=False)


def test_on_a_small_screen_the_source_comes_when_it_is_asked_for(url, english, open_page, shoot):
    page = open_page(viewport={"width": 400, "height": 800})
    page.goto(f"{url}/reports/{english}")
    viewer = page.locator(".viewer")
    expect(viewer).to_be_hidden()
    page.locator(".tile .evidence:visible").first.click()
    expect(viewer).to_be_in_viewport()
    expect(page.locator("[data-evidence-card]")).to_be_in_viewport()
    shoot(page, "finance-report-400-open", full_page=False)
    page.get_by_role("button", name="Close").click()
    expect(viewer).to_be_hidden()


def test_without_javascript_a_number_opens_its_page(url, english, open_page):
    page = open_page(java_script_enabled=False)
    page.goto(f"{url}/reports/{english}")
    page.locator(".tile .evidence:visible").first.click()
    expect(page.locator(".viewer .lit")).to_have_count(1)
    expect(page.locator(".viewer img")).to_have_attribute("src", re.compile(r"/pages/\d+\.png$"))


def test_the_report_prints_on_paper(url, english, open_page):
    page = open_page(color_scheme="dark")
    page.goto(f"{url}/reports/{english}")
    printed = pypdfium2.PdfDocument(io.BytesIO(page.pdf(format="A4")))
    texts = [sheet.get_textpage().get_text_range() for sheet in printed]
    assert "LARKHAVEN INSTRUMENTS, INC." in texts[0]
    assert all(len(text) > 40 for text in texts)
    assert not any("Delete my file" in text or "Point at a number" in text for text in texts)
    assert len(texts) < 30


def test_the_keyboard_reaches_the_numbers_and_the_contents_follow_the_reader(url, english, open_page):
    page = open_page()
    page.goto(f"{url}/reports/{english}")
    page.locator(".tile .evidence:visible").first.focus()
    expect(page.locator("[data-evidence-card]")).to_contain_text("Revenue")
    page.locator(".contents").get_by_role("link", name="SWOT").click()
    expect(page.locator(".contents [aria-current]")).to_have_attribute("href", "#section-swot")
    expect(page.locator("#section-swot h2")).to_be_in_viewport()
