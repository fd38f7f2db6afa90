"""What MkDocs adds to the pages of docs/: pages kept elsewhere, the reference of the command line, and sample files.

Pages link to files of the repository by their paths, so that links also work where the sources are read. For the site,
links to pages kept elsewhere go to their place in the navigation, and linked samples are copied into the site.
"""

from __future__ import annotations

import argparse
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

KEPT_ELSEWHERE = {
    "index.md": "README.md",
    "changelog.md": "CHANGELOG.md",
    "contributing.md": "CONTRIBUTING.md",
    "design/rooms.md": "pipeline/README.md",
    "reference/cache-format.md": "cache/README.md",
    "reference/report-format.md": "reports/README.md",
}
"""Pages of the site whose one source lies outside docs/: the page, and its file in the repository."""

VERBS = "<!-- verbs -->"
"""Where the reference of the command line goes in reference/cli.md."""

_LINK = re.compile(r"\[(!\[[^\]]*\]\([^)]*\)|[^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def command_line_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line, with one subparser for each verb."""
    from probeline.cli.parser import build_parser

    return build_parser()


def verb_parsers() -> dict[str, tuple[str, argparse.ArgumentParser]]:
    """Return the purpose and the parser of each verb, in the order of the program's own help."""
    verbs = next(action for action in command_line_parser()._actions if isinstance(action, argparse._SubParsersAction))
    purposes = {action.dest: action.help or "" for action in verbs._choices_actions}
    return {verb: (purposes[verb], parser) for verb, parser in verbs.choices.items()}


def cli_reference() -> str:
    """Return the reference of the command line in Markdown: each verb's purpose and its options in groups."""
    lines: list[str] = []
    for verb, (purpose, parser) in verb_parsers().items():
        lines += [f"## probeline {verb}", "", f"{purpose[:1].upper()}{purpose[1:].rstrip('.')}.", ""]
        for group in parser._action_groups:
            actions = [action for action in group._group_actions if action.dest != "help"]
            if actions:
                title = (group.title or "options").capitalize()
                lines += [group.description, ""] if group.description else []
                lines += [f"| {title} | |", "|---|---|"]
                lines += [f"| `{_name(action)}` | {_meaning(parser, action)} |" for action in actions]
                lines.append("")
    return "\n".join(lines)


def _name(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    values = metavar if action.nargs != 0 else ""
    if action.nargs in ("+", "*"):
        values += " ..."
    return " ".join([", ".join(action.option_strings), values]).strip() or action.dest


def _meaning(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = "" if action.help in (None, argparse.SUPPRESS) else parser._get_formatter()._expand_help(action)
    text = text.replace("|", "&#124;").replace("<", "&lt;")
    usual = action.default
    if usual in (None, False, argparse.SUPPRESS, (), []) or "default" in text:
        return text
    return f"{text} (default {usual})"


def source_of(page: str) -> str:
    """Return the path within the repository of a page of the site."""
    return KEPT_ELSEWHERE.get(page, f"docs/{page}")


def _target(page: str, link: str) -> str:
    """Return the path within the repository that a link of a page leads to; of a sample report its page."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source_of(page)), link))
    shown = path.removesuffix("report.md") + "index.html"
    return shown if path.endswith("/report.md") and (ROOT / shown).is_file() else path


def _is_external(link: str) -> bool:
    return not link or bool(re.match(r"[a-z]+:", link))


def _in_site(path: str) -> str:
    """Return where in the site a file of the repository is."""
    pages = {source: page for page, source in KEPT_ELSEWHERE.items()}
    return pages.get(path, path.removeprefix("docs/"))


def linked_files(page: str, markdown: str) -> set[str]:
    """Return the files of the repository outside docs/ that a page links to and that are no pages of the site."""
    links = [link for text, link, _ in _LINK.findall(markdown) for link in (link, *_inner(text))]
    targets = {_target(page, link) for link in links if not _is_external(link)}
    outside = {path for path in targets if not path.startswith("docs/") and path not in KEPT_ELSEWHERE.values()}
    return {path for path in outside if (ROOT / path).is_file()}


def _inner(text: str) -> list[str]:
    """Return the address of the picture that a link's text is made of."""
    return re.findall(r"^!\[[^\]]*\]\(([^)]*)\)$", text)


def links_for_the_site(page: str, markdown: str) -> str:
    """Return a page whose links lead to where things are in the site; of a link to a folder its text remains."""

    def moved(match: re.Match[str]) -> str:
        text, link, anchor = match.group(1), match.group(2), match.group(3) or ""
        if _inner(text):
            text = _LINK.sub(moved, text)
        if _is_external(link):
            return f"[{text}]({link}{anchor})"
        path = _target(page, link)
        if (ROOT / path).is_dir():
            return text
        return f"[{text}]({posixpath.relpath(_in_site(path), posixpath.dirname(page) or '.')}{anchor})"

    return _LINK.sub(moved, markdown)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are kept elsewhere, and the samples that pages link to."""
    from mkdocs.structure.files import File

    for page, source in KEPT_ELSEWHERE.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    pages = [file for file in files if file.is_documentation_page()]
    linked = {path for file in pages for path in linked_files(file.src_uri, file.content_string)}
    for path in sorted(linked):
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return a page with its generated parts, and with links for the site."""
    if page.file.src_uri == "reference/cli.md":
        markdown = markdown.replace(VERBS, cli_reference())
    return links_for_the_site(page.file.src_uri, markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Return a page without the roles of Sphinx that docstrings have for readers of the code: ``:func:`name```."""
    return re.sub(r":(?:func|class|meth|attr|mod):(?=<code)", "", html)
