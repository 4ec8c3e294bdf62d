"""The guides are true: every command in them is accepted, every job is explained, every link leads somewhere."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import pytest

from cxr_ray.cluster.job_command import job_command
from cxr_ray.config import load_config
from cxr_ray.config.submission import SubmitConfig, with_job_first

REPOSITORY = Path(__file__).parents[1]
GUIDES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")] + [
    *sorted((REPOSITORY / "jobs").glob("*.md")),
    *sorted((REPOSITORY / "cluster").rglob("*.md")),
]
JOBS = {path.name: path for path in sorted((REPOSITORY / "jobs").glob("*.py"))}


def job_commands(guide: Path) -> list[tuple[str, list[str]]]:
    """Name of the job and its arguments, of every line of the ```sh blocks that runs one."""
    blocks = re.findall(r"^```sh\n(.*?)^```", guide.read_text(), re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    found = []
    for words in (shlex.split(line, comments=True) for line in lines):
        for place, word in enumerate(words):
            if word.startswith("jobs/") and words[place - 1] == "python":
                found.append((word.removeprefix("jobs/"), words[place + 1 :]))
    return found


def config_of(job: str) -> type:
    """The config class that a job hands to `run_job`, from the module that the job imports it from."""
    nodes = list(ast.walk(ast.parse(JOBS[job].read_text())))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    name = next(call.args[0].id for call in calls if getattr(call.func, "id", "") == "run_job")
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    module = next(node.module for node in imports if name in [alias.name for alias in node.names])
    return getattr(importlib.import_module(module), name)


COMMANDS = [
    pytest.param(job, arguments, id=f"{guide.parent.name}/{guide.name}: {job} {number}")
    for guide in GUIDES
    for number, (job, arguments) in enumerate(job_commands(guide))
]


@pytest.mark.parametrize(("job", "arguments"), COMMANDS)
def test_a_command_of_a_guide_is_accepted(job, arguments, monkeypatch):
    monkeypatch.chdir(REPOSITORY)  # for the paths of recipes
    if job == "submit.py":
        submission = load_config(SubmitConfig, with_job_first(arguments, [Path(name).stem for name in JOBS]))
        job_command(REPOSITORY, submission.job, submission.arguments)
    else:
        load_config(config_of(job), arguments)


def test_commands_are_found_in_the_guides():
    assert ("classify_archive.py", ["--input-uri"]) in [(job, args[:1]) for job, args in job_commands(GUIDES[0])]
    assert len(COMMANDS) > 20


def test_every_job_is_explained():
    text = (REPOSITORY / "jobs/README.md").read_text()
    headings = re.findall(r"^## (\S+)$", text, re.MULTILINE)
    patterns = [re.escape(heading).replace(r"\*", r"\w+") for heading in headings]
    assert [job for job in JOBS if not any(re.fullmatch(pattern, job) for pattern in patterns)] == []


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_links_lead_to_files_and_headings(guide):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", guide.read_text()):
        page = guide.parent / target if target else guide
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
