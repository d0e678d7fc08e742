"""``micronode reload [--dry-run]``: tell a running node to read its configuration again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from micronode.cli.adminclient import AdminClient, show_json, text_of
from micronode.cli.adminoptions import AdminOptions
from micronode.cli.exits import Exit, say
from micronode.cli.streams import show

#: The node reads its files again first, from whatever disk they are on.
_TIMEOUT_S: Final = 60.0
_GOOD: Final = ("applied", "unchanged", "would_apply")


def main(argv: Sequence[str]) -> int:
    """Reload, or look what that would do.

    :return: 0 applied, or nothing to apply; 1 not; 78 refused (``--dry-run``).
    :raises CommandError: usage; no micronode is reached (69); the node refuses who asks (1).
    """
    options = AdminOptions(
        "micronode reload",
        "Tell the node to read its configuration again, and print what came of it: each key that has another "
        "value, and where that comes from. Exit codes: 0 done, keys that need a restart are named; 1 not "
        "done, the old configuration stays; 69 no micronode is reached. With --dry-run: 0 it would work, 78 "
        "it would be refused. Without --dry-run this release, which has no capabilities yet, "
        "answers 401: send SIGHUP to the node's process instead.",
        ("dry-run", "Only tell what would change; needs no capability."),
    )
    options.parse(argv)
    dry = options["dry-run"]
    with options.errors_as_json():
        node = options.node(_TIMEOUT_S)
        answer = node.order("GET" if dry else "POST", "/api/v1/reload", "outcome")
    outcome: str = answer["outcome"]
    if options["json"]:
        show_json(answer)
    else:
        try:
            _tell(node, outcome, answer, dry=dry)
        except (KeyError, TypeError, AttributeError):
            raise node.puzzled() from None
    if outcome in _GOOD:
        return Exit.DONE
    return Exit.CONFIG if dry and outcome == "refused" else Exit.FAILED


def _tell(node: AdminClient, outcome: str, answer: dict[str, Any], *, dry: bool) -> None:
    for warning in answer["warnings"]:
        say(f"warning: {text_of(warning)}")
    # A node of another release may not tell.
    for hidden in answer.get("hidden", ()):
        say(text_of(hidden))
    for problem in answer["problems"]:
        where, what, fix = (text_of(problem[name]) for name in ("where", "what", "fix"))
        say(f"{where}: {what}; {fix}" if where else f"{what}; {fix}")
    sha = text_of(answer["config_sha"])[:12]
    changes = [
        (text_of(each["path"]), text_of(each["source"]), bool(each["live"])) for each in answer["changes"]
    ]
    if outcome not in _GOOD:
        reason = {
            "refused": "the configuration is refused",
            "draining": "the node is stopping",
            "failed": "the node could not take the configuration, its log says why",
        }.get(outcome, text_of(outcome))
        stays = "" if dry else f"; {sha} stays in force"
        say(f"{'would not reload' if dry else 'not reloaded'}: {reason}{stays}")
        return
    show(_headline(outcome, sha, changes, dry=dry))
    width = max((len(path) for path, _, _ in changes), default=0)
    for path, source, live in changes:
        note = "" if live else "  needs a restart"
        show(f"  {path:<{width}}  {source}{note}")


def _headline(outcome: str, sha: str, changes: list[tuple[str, str, bool]], *, dry: bool) -> str:
    live = sum(1 for _, _, is_live in changes if is_live)
    rest = len(changes) - live
    keys = f"{live} key{'' if live == 1 else 's'}"
    if dry:
        text = f"would change {keys}" if live else "would change nothing"
    else:
        text = f"reloaded: {keys} changed" if live else "reloaded: nothing changed"
    if rest:
        text += f"; {rest} need{'s' if rest == 1 else ''} a restart"
    return f"{text} (sha {sha}{' is in force' if dry else ''})"
