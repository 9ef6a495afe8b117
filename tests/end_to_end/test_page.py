"""The page of the server in a real browser: what a user sees at several sizes, and by keys alone."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import CHROMIUM, Page, browser
from repositories import commit, git
from served import READING, TOKEN, Client, served
from slurm import task
from slurm.server.scripts import ScriptRules
from slurm.sweeps import Sweep, grid
from slurm.testing import InlineCluster
from waiting import until

WAIT = 60.0
MARKUP = "<img src=x onerror=alert(1)>"
SIZES = [(360, 740, True), (768, 1024, False), (1440, 900, True), (3840, 2160, False)]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the page is tested in Chromium: apt-get install chromium")


@task
def fit(x: int) -> int:
    print(f"fitting {x} {MARKUP}")
    if x % 10 == 9:
        raise ValueError(f"{MARKUP} {x}")
    return x


@task
def score(lr: float, depth: int) -> dict[str, float]:
    if lr > 0.25:
        raise ValueError(f"{lr} is too large")
    return {"loss": lr * depth}


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the sweeps."""
    return tmp_path_factory.mktemp("sweeps")


@pytest.fixture(scope="module")
def inline(sweeps: Path) -> Iterator[InlineCluster]:
    """A cluster with a sweep, and then a map."""
    with InlineCluster() as cluster:
        sweep = Sweep(score, grid(lr=[0.1, 0.2, 0.3], depth=[1, 2]), name="depths", directory=sweeps)
        assert len(list(sweep.run(on=[(cluster, 4)]).as_completed())) == 6
        fit.map(range(250)).results(WAIT, return_exceptions=True)
        yield cluster


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that is allowed."""
    return tmp_path_factory.mktemp("scripts")


@pytest.fixture(scope="module")
def client(inline: InlineCluster, sweeps: Path, scripts: Path) -> Iterator[Client]:
    with served(inline, sweeps=sweeps, rules=ScriptRules((str(scripts),), (f"file://{scripts}",), text=True)) as found:
        yield found


@pytest.fixture(scope="module")
def chromium() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
def page(chromium: Page, client: Client) -> Iterator[Page]:
    """The page, open and live."""
    chromium.open("about:blank")
    chromium.problems.clear()
    chromium.requested.clear()
    chromium.size(1440, 900)
    chromium.open(f"{client.url}/#{TOKEN}")
    chromium.until("document.querySelector('.row') && document.getElementById('live').textContent == 'live'")
    yield chromium
    assert chromium.problems == []
    assert all(url.startswith((client.url, "about:")) for url in chromium.requested), "it loads something from outside"
    assert TOKEN not in "".join(chromium.requested).replace(f"{client.url}/#{TOKEN}", "")


def text(page: Page, selector: str) -> str:
    return str(page.run(f"document.querySelector({selector!r})?.innerText || ''"))


def tab(page: Page, name: str) -> None:
    page.click(f"[...document.querySelectorAll('.detail-tabs button')].find(b => b.textContent == {name!r})")


def test_a_job_is_found_and_read_by_keys_alone(page: Page) -> None:
    for key in "/fit":
        page.press(key)
    page.press("Escape")
    page.press("ArrowDown")
    page.press("Enter")
    page.until("document.querySelector('#panel dl')")
    assert "225 COMPLETED, 25 FAILED" in text(page, "#state")
    assert page.run("location.href").endswith(page.run("'#/jobs/' + document.querySelector('#detail h2').innerText"))
    page.press("Escape")
    assert page.run("document.getElementById('detail').hidden && document.activeElement.className == 'row'")


def test_calls_are_fetched_as_they_are_scrolled_to_and_open_their_log(page: Page) -> None:
    page.click("document.querySelector('.row:has(.bar)')")
    tab(page, "Calls")
    page.until("document.querySelector('.call')?.innerText.includes('COMPLETED')")
    assert not any("offset=200" in url for url in page.requested)
    page.run("document.querySelector('.scroll').scrollTop = 1e6")
    page.until("[...document.querySelectorAll('.call')].some(c => c.innerText.includes('[249]'))")
    assert page.run("document.querySelectorAll('.call').length") < 60
    page.click("[...document.querySelectorAll('.call')].find(c => c.innerText.includes('[249]'))")
    page.until("document.querySelector('#panel pre')?.innerText.includes('fitting 249')")


def test_texts_of_jobs_are_never_markup(page: Page) -> None:
    page.click("document.querySelector('.row:has(.bar)')")
    page.until("document.querySelector('#panel pre')")
    assert MARKUP in text(page, "#panel")
    assert MARKUP in text(page, ".row .error")
    assert page.run("document.querySelectorAll('img').length") == 0


def test_states_change_while_the_page_is_open_and_a_job_is_cancelled(page: Page, inline: InlineCluster) -> None:
    with inline.queue.held():
        job = fit(7)
        page.until(f"document.getElementById('rows').innerText.includes({job.key.rpartition('-')[2]!r})")
        page.click("document.querySelector('.row')")
        page.until("document.querySelector('#state').innerText == 'PENDING'")
        page.click("document.querySelector('#actions .danger')")
        page.until("document.getElementById('ask').open")
        page.click("document.querySelector('#ask .danger')")
        page.until("document.querySelector('#state').innerText == 'CANCELLED'")


def test_a_click_counts_although_its_element_is_drawn_again_meanwhile(page: Page, inline: InlineCluster) -> None:
    row = "[...document.querySelectorAll('.row .name')].find(e => e.innerText.includes('{}')).parentElement"
    with inline.queue.held():
        job = fit(8)
        page.until(f"document.getElementById('rows').innerText.includes({job.key.rpartition('-')[2]!r})")
        page.mouse_down(row.format(job.key.rpartition("-")[2]))
    assert job.result(WAIT) == 8
    page.run("new Promise(done => setTimeout(done, 1500))")  # the change arrives
    page.mouse_up()
    page.until("document.querySelector('#state')?.innerText == 'COMPLETED'")


def test_sweeps_have_bars_points_and_a_plot(page: Page) -> None:
    page.click("document.getElementById('view-sweeps')")
    page.until("document.querySelector('.row .name b')?.innerText == 'depths'")
    page.click("document.querySelector('.row')")
    page.until("document.querySelector('#panel')?.innerText.includes('4 done, 2 failed')")
    tab(page, "Points")
    page.until("[...document.querySelectorAll('.call')].some(c => c.innerText.includes('lr=0.1 depth=2'))")
    tab(page, "Plot")
    page.until("document.querySelectorAll('svg circle').length == 4")
    page.press("Escape")
    page.click("document.getElementById('view-jobs')")
    page.until("document.querySelector('.row').innerText.includes('fit')")


OBSERVE = f"""
from slurm.procedures import procedure

EXPECTED = 3600

def init(subarray_id=0):
    pass

def calibrate(n):
    procedure.report({MARKUP!r}, n=n)

def main(sb_id):
    print("observing", sb_id, flush=True)
    procedure.sleep(600)
"""


def test_procedures_are_started_and_stopped_by_buttons_and_their_events_come_live(
    page: Page, client: Client, tmp_path: Path
) -> None:
    script = {"text": OBSERVE, "name": "observe.py"}
    abort = {"text": "def main(): pass", "name": "rest.py"}
    fields = {"kwargs": {"subarray_id": 1}, "options": {"time": "30"}}
    made = client.post("/procedures", script=script, abort=abort, **fields)["number"]
    pictures = Path(os.environ.get("SLURMTASKS_TEST_PICTURES", tmp_path))
    row = f"document.querySelector('[data-number=\"{made}\"]')"
    page.click("document.getElementById('view-procedures')")
    page.until(f"{row}?.innerText.includes('READY')")
    assert " left" in page.run(f"{row}.innerText")
    page.click(row)
    page.until("document.querySelector('#actions button')")
    assert page.run("location.hash") == f"#/procedures/{made}"
    button(page, "Start…")
    page.run("document.querySelector('#ask input').value = 'calibrate'")
    assert "expects to take 1 h" in text(page, "#ask")
    page.run("(i => { i.value = '[3'; i.oninput(); })(document.querySelectorAll('#ask input')[1])")
    page.click("document.querySelector('#ask button[value=yes]')")
    assert page.run("document.getElementById('ask').open"), "arguments that are not JSON are not sent"
    page.run("(i => { i.value = '[3]'; i.oninput(); })(document.querySelectorAll('#ask input')[1])")
    page.click("document.querySelector('#ask button[value=yes]')")
    page.until("document.querySelector('#panel').innerText.includes('calibrate(3)')")
    tab(page, "Events")
    page.until("document.querySelector('#panel').innerText.includes('returned')")
    assert MARKUP in text(page, "#panel")
    assert page.run("document.querySelectorAll('img').length") == 0
    page.until("document.querySelector('#state').innerText.includes('READY')")
    client.ask("PUT", f"/procedures/{made}", body=b'{"state": "RUNNING", "kwargs": {"sb_id": "sbi-1"}}')
    page.until("document.querySelector('#state').innerText.includes('RUNNING')")
    tab(page, "Log")
    page.until("document.querySelector('#panel').innerText.includes('observing sbi-1')")
    for width, height, dark in SIZES:
        page.size(width, height, dark=dark)
        for name in ("Events", "Facts"):
            tab(page, name)
            page.until("document.querySelector('#panel').innerText.includes('RUNNING')")
            assert page.run("document.documentElement.scrollWidth") <= width, name
            page.picture(pictures / f"procedure-{name}-{width}.png")
    page.size(1440, 900)
    button(page, "Stop and abort")
    assert "SIGKILL after its grace" in text(page, "#ask")
    page.picture(pictures / "procedure-stop.png")
    page.click("document.querySelector('#ask .danger')")
    page.until("document.querySelector('#state').innerText.includes('STOPPED')")
    assert page.run("document.querySelectorAll('#actions button').length") == 0
    page.until("[...document.querySelectorAll('.row')].some(r => /rest.py.*COMPLETE/s.test(r.innerText))")
    page.press("Escape")
    assert page.run("document.getElementById('detail').hidden")
    page.picture(pictures / "procedures.png")


def button(page: Page, words: str) -> None:
    page.click(f"[...document.querySelectorAll('#actions button')].find(b => b.textContent == {words!r})")
    page.until("document.getElementById('ask').open")


def fill(page: Page, label: str, words: str) -> None:
    """Write into the field of the dialog with this label, as a person does."""
    labels = "[...document.querySelectorAll('#ask label')]"
    field = f"{labels}.find(l => l.innerText.startsWith({label!r})).querySelector('input, textarea')"
    typed = "new Event('input', { bubbles: true })"
    page.run(f"(f => {{ f.value = {json.dumps(words)}; f.dispatchEvent({typed}); }})({field})")


def answer(page: Page, words: str) -> None:
    page.click(f"[...document.querySelectorAll('#ask .actions button')].find(b => b.textContent == {words!r})")


def pictures_of(page: Page, name: str, tmp_path: Path) -> None:
    """Look at the dialog at all sizes."""
    pictures = Path(os.environ.get("SLURMTASKS_TEST_PICTURES", tmp_path))
    for width, height, dark in SIZES:
        page.size(width, height, dark=dark)
        assert page.run("document.getElementById('ask').open")
        assert page.run("(d => d.scrollWidth <= d.clientWidth)(document.getElementById('ask'))"), width
        assert page.run("document.documentElement.scrollWidth") <= width
        page.picture(pictures / f"{name}-{width}.png")
    page.size(1440, 900)


def forget(page: Page, status: int) -> None:
    """Leave out what the browser says of a request that was refused."""
    said = f"status of {status}"
    assert any(said in problem for problem in page.problems), page.problems
    page.problems[:] = [problem for problem in page.problems if said not in problem]


def test_a_script_of_an_allowed_folder_is_prepared_by_a_form(
    page: Page, client: Client, scripts: Path, tmp_path: Path
) -> None:
    (scripts / "observe.py").write_text(OBSERVE)
    (scripts / "rest.py").write_text("def main(): pass")
    page.click("document.getElementById('view-procedures')")
    before = [each["number"] for each in client.get("/procedures")["procedures"]]
    page.click("document.getElementById('prepare')")
    page.until("document.getElementById('ask').open")
    assert page.run("document.activeElement.placeholder") == "observe.py"
    fill(page, "Path of the script", f"/etc/{MARKUP}")
    fill(page, "Arguments", '{"subarray_id": 7')
    answer(page, "Prepare")
    assert page.run("document.querySelectorAll('#ask :invalid').length") > 0, "what is not JSON is not sent"
    fill(page, "Arguments", '{"subarray_id": 7}')
    answer(page, "Prepare")
    page.until("document.querySelector('#ask [role=alert]').innerText.includes('not below an allowed folder')")
    forget(page, 403)
    assert MARKUP in text(page, "#ask")
    assert page.run("document.querySelectorAll('img').length") == 0
    assert [each["number"] for each in client.get("/procedures")["procedures"]] == before
    fill(page, "Path of the script", "observe.py")
    assert page.run("document.querySelector('#ask [role=alert]').hidden")
    fill(page, "Path of its abort", "rest.py")
    pictures_of(page, "prepare", tmp_path)
    page.press("Enter")
    page.until("!document.getElementById('ask').open && document.querySelector('#state')?.innerText.includes('READY')")
    path = page.run("location.hash").removeprefix("#")
    made = client.get(path)
    assert made["number"] not in before
    assert (made["script"]["path"], made["can_abort"]) == (str(scripts / "observe.py"), True)
    assert (made["calls"][0]["function"], made["calls"][0]["kwargs"]) == ("init", {"subarray_id": 7})
    client.put(path, state="STOPPED", abort=False)
    page.until("document.querySelector('#state').innerText.includes('STOPPED')")
    page.press("Escape")


def choose(page: Page, label: str, option: str) -> None:
    """Choose an option of the dialog."""
    found = f"[...document.querySelectorAll('#ask label')].find(l => l.innerText.startsWith({label!r}))"
    changed = "s.dispatchEvent(new Event('change', { bubbles: true }))"
    page.run(f"(s => {{ s.value = {json.dumps(option)}; {changed}; }})({found}.querySelector('select'))")


def test_a_script_of_a_git_repository_is_prepared_by_a_form(
    page: Page, client: Client, scripts: Path, tmp_path: Path
) -> None:
    repository = scripts / "scripting"
    (repository / "dishes").mkdir(parents=True)
    (repository / "dishes" / "observe.py").write_text(OBSERVE)
    (repository / "rest.py").write_text("def main(): pass")
    git(repository, "init", "--quiet", "-b", "main")
    first = commit(repository)
    git(repository, "tag", "v1")
    (repository / "dishes" / "observe.py").write_text("def main(): pass")
    commit(repository)
    page.click("document.getElementById('view-procedures')")
    page.click("document.getElementById('prepare')")
    page.until("document.getElementById('ask').open")
    choose(page, "The script is in", "a git repository")
    fill(page, "Path of the script", "dishes/observe.py")
    answer(page, "Prepare")
    assert page.run("document.querySelectorAll('#ask :invalid').length") > 0, "a repository needs its URL"
    fill(page, "URL of the repository", "https://example.invalid/other.git")
    answer(page, "Prepare")
    page.until("document.querySelector('#ask [role=alert]').innerText.includes('is not allowed')")
    forget(page, 403)
    fill(page, "URL of the repository", f"file://{repository}")
    fill(page, "Branch", "v2")
    answer(page, "Prepare")
    page.until("document.querySelector('#ask [role=alert]').innerText.includes(\"has no branch 'v2'\")")
    forget(page, 422)
    choose(page, "Branch", "tag")
    fill(page, "Branch", "v1")
    fill(page, "Path of its abort", "rest.py")
    fill(page, "Arguments", "[7]")
    pictures_of(page, "prepare-git", tmp_path)
    answer(page, "Prepare")
    page.until("!document.getElementById('ask').open && document.querySelector('#state')?.innerText.includes('READY')")
    path = page.run("location.hash").removeprefix("#")
    made = client.get(path)
    script = {"kind": "git", "path": "dishes/observe.py", "digest": first, "repository": f"file://{repository}"}
    assert made["script"].items() >= {**script, "asked": "v1"}.items()
    assert (made["can_abort"], made["calls"][0]["args"]) == (True, [7])
    page.until(f"document.querySelector('#panel').innerText.includes({first!r})")
    client.put(path, state="STOPPED", abort=False)
    page.until("document.querySelector('#state').innerText.includes('STOPPED')")
    page.press("Escape")


def test_a_slot_is_released_by_a_button(page: Page, client: Client, tmp_path: Path) -> None:
    script = {"text": OBSERVE, "name": "observe.py"}
    first, second = (client.post("/procedures", script=script, exclusive="dish") for _ in range(2))
    page.click("document.getElementById('view-procedures')")
    page.until(f"document.querySelector('[data-number=\"{second['number']}\"]')?.innerText.includes('READY')")
    until(lambda: client.get(f"/procedures/{first['number']}")["state"] == "READY")
    client.put(f"/procedures/{first['number']}", state="RUNNING", kwargs={"sb_id": MARKUP})
    page.click(f"document.querySelector('[data-number=\"{second['number']}\"]')")
    page.until("document.querySelector('#state')?.innerText.includes('READY')")
    start = "{'sb_id': 'sbi-2'}".replace("'", '"')

    def begin() -> None:
        button(page, "Start…")
        fill(page, "Arguments", start)
        answer(page, "Start")

    begin()
    holder = f"#{first['number']} observe.py"
    page.until(f"document.getElementById('toast').innerText.includes(\"the slot 'dish' is held by {holder}\")")
    forget(page, 409)
    button(page, "Release dish…")
    pictures_of(page, "release", tmp_path)
    answer(page, "Back")
    assert (
        client.ask(
            "PUT", f"/procedures/{second['number']}", body=f'{{"state": "RUNNING", "kwargs": {start}}}'.encode()
        ).status
        == 409
    )
    button(page, "Release dish…")
    answer(page, "Release")
    page.until(f"document.getElementById('toast').innerText == 'dish is free now. {holder} had it.'")
    begin()
    page.until("document.querySelector('#state').innerText.includes('RUNNING')")
    for each in (first, second):
        client.put(f"/procedures/{each['number']}", state="STOPPED")
    page.until("document.querySelector('#state').innerText.includes('STOPPED')")
    assert page.run("document.querySelectorAll('#actions button').length") == 0
    page.press("Escape")


def test_overrides_are_shown_and_changed_unless_somebody_has_changed_them(
    page: Page, client: Client, tmp_path: Path
) -> None:
    client.put("/context", topic="operator.wait_for_qa_ready", values={"enabled": False, "words": MARKUP})
    page.click("document.getElementById('view-procedures')")
    page.click("document.getElementById('overrides')")
    page.until("document.querySelector('#ask dl')?.innerText.includes('operator.wait_for_qa_ready')")
    assert MARKUP in text(page, "#ask dl")
    assert page.run("document.querySelectorAll('img').length") == 0
    page.click("document.querySelector('#ask dd button')")
    fill(page, "Values", "[true]")
    answer(page, "Set")
    assert page.run("document.querySelectorAll('#ask textarea:invalid').length") == 1, "a list is not sent"
    fill(page, "Values", '{"enabled": true}')
    client.put("/context", topic="operator.wait_for_qa_ready", values={"enabled": "soon"})
    answer(page, "Set")
    page.until("document.querySelector('#ask [role=alert]').innerText.includes('Somebody has changed')")
    forget(page, 412)
    assert "soon" in text(page, "#ask dl")
    assert client.get("/context")["operator.wait_for_qa_ready"] == {"enabled": "soon"}
    pictures_of(page, "overrides", tmp_path)
    answer(page, "Set")
    page.until("!document.getElementById('ask').open")
    assert client.get("/context")["operator.wait_for_qa_ready"] == {"enabled": True}
    assert text(page, "#toast") == "operator.wait_for_qa_ready is set."


def test_the_page_connects_again_while_a_dialog_is_open(page: Page) -> None:
    page.click("document.getElementById('view-procedures')")
    page.click("document.getElementById('prepare')")
    page.run(
        "window.fetched = fetch; window.fetch = () => Promise.reject(new Error('away')); "
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.until("document.getElementById('live').textContent.startsWith('not connected')")
    page.run("window.fetch = window.fetched")
    page.until("document.getElementById('live').textContent == 'live'")
    assert page.run("document.getElementById('ask').open")


def test_a_hidden_page_asks_for_nothing(page: Page) -> None:
    page.hide(True)
    page.until("document.getElementById('live').textContent == 'paused'")
    page.requested.clear()
    page.run("new Promise(done => setTimeout(done, 1500))")
    assert page.requested == []
    page.hide(False)
    page.until("document.getElementById('live').textContent == 'live'")


def test_a_token_that_may_only_read_has_no_buttons(chromium: Page, client: Client) -> None:
    chromium.open(client.url)
    chromium.run("sessionStorage.clear()")
    chromium.open("about:blank")
    chromium.open(f"{client.url}/#{READING}")
    chromium.until("document.querySelector('.row:has(.bar)')")
    chromium.click("document.querySelector('.row:has(.bar)')")
    chromium.until("document.querySelector('#panel dl')")
    assert chromium.run("document.querySelectorAll('#actions button').length") == 0
    assert chromium.run("location.href.includes('read-')") is False
    chromium.click("document.getElementById('view-procedures')")
    assert chromium.run("document.getElementById('prepare').hidden")
    chromium.click("document.getElementById('overrides')")
    chromium.until("document.getElementById('ask').open")
    assert chromium.run("document.querySelectorAll('#ask input, #ask textarea, #ask button[value=yes]').length") == 0
    chromium.press("Escape")


def test_without_a_token_the_page_asks_for_it(chromium: Page, client: Client) -> None:
    chromium.open(client.url)
    chromium.run("sessionStorage.clear()")
    chromium.open("about:blank")
    chromium.open(client.url)
    chromium.until("document.getElementById('ask').open")
    chromium.run(f"document.querySelector('#ask input').value = '{client.url}/#{TOKEN}'")
    chromium.press("Enter")
    chromium.until("document.querySelector('.row')")


@pytest.mark.parametrize(("width", "height", "dark"), SIZES)
def test_nothing_is_wider_than_the_window(page: Page, tmp_path: Path, width: int, height: int, dark: bool) -> None:
    page.size(width, height, dark=dark)
    page.click("document.querySelector('.row:has(.bar)')")
    pictures = Path(os.environ.get("SLURMTASKS_TEST_PICTURES", tmp_path))
    for name in ("Facts", "Calls", "Log", "Graph", "Use"):
        tab(page, name)
        page.until("document.querySelector('#panel').innerText.length > 20")
        assert page.run("document.documentElement.scrollWidth") <= width, name
        page.picture(pictures / f"{name}-{width}.png")
    page.press("Escape")
    assert page.run("document.documentElement.scrollWidth") <= width
    page.picture(pictures / f"list-{width}.png")
