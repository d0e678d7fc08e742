"""``micronode status``: how a running node is, for people, scripts and probes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from micronode.cli.adminclient import AdminClient, show_json, text_of
from micronode.cli.adminoptions import AdminOptions
from micronode.cli.exits import CommandError, Exit
from micronode.cli.streams import show

#: Parts of the topology that have a line of their own.
_ELSEWHERE: Final = ("calls", "subscriptions", "owners.permits", "oap.streams")


def main(argv: Sequence[str]) -> int:
    """Ask the node how it is.

    :return: 0 when it is ready (``--live``: alive), 1 when not, 69 when no micronode is reached.
    :raises CommandError: usage; the ends above that need words.
    """
    options = AdminOptions(
        "micronode status",
        "Print how the node is. Exit codes: 0 it is ready, 1 it is not, 69 no micronode is reached. With "
        "--live: 0 it is alive, whether ready or not; what a node may be restarted by.",
        ("live", "Ask only whether the process is alive."),
        ("quiet", "Print nothing; the exit code tells."),
    )
    options.parse(argv)
    ask = _live if options["live"] else _status
    if not options["quiet"]:
        with options.errors_as_json():
            return ask(options.node(), options["json"], show)
    node = options.node()
    try:
        return ask(node, False, lambda text: None)
    except CommandError as error:
        return error.code


def _live(node: AdminClient, as_json: bool, show: Callable[[str], None]) -> int:
    status, answer = node.ask("GET", "/healthz")
    if "ok" not in answer:
        raise node.puzzled()
    alive = status == 200 and answer["ok"] is True
    if as_json:
        show_json(answer)
    else:
        show(f"{node.where}: {'alive' if alive else 'not alive'}")
    return Exit.DONE if alive else Exit.FAILED


def _status(node: AdminClient, as_json: bool, show: Callable[[str], None]) -> int:
    status, answer = node.ask("GET", "/api/v1/status")
    if status != 200 or answer.get("service") != "micronode":
        raise node.puzzled()
    if as_json:
        show_json(answer)
    else:
        try:
            headline = f"micronode {text_of(answer['version'])}, {_state(answer)}"
            rows = list(_rows(answer))
        except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError):
            raise node.puzzled() from None
        show(f"{node.where}: {headline}")
        for name, text in rows:
            show(f"  {name:<14}{text_of(text)}")
    return Exit.DONE if answer.get("ready") is True else Exit.FAILED


def _state(answer: dict[str, Any]) -> str:
    degraded = ", ".join(map(str, answer["degraded"]))
    return text_of(
        f"{answer['state']}, {'ready' if answer['ready'] else 'not ready'}"
        + (f", degraded: {degraded}" if degraded else "")
    )


def _rows(answer: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "up", f"{_duration(answer['uptime_s'])}, since {answer['started_at']}"
    if answer.get("drain") is not None:
        yield "drain", f"{answer['drain']['phase']}, {answer['drain']['left_s']:.1f} s left at most"
    yield "listeners", _list(answer["listeners"].items())
    config = answer["config"]
    yield "config", f"sha {config['sha'][:12]}, profile {config['profile']}"
    reloads = ", ".join(f"{count} {outcome}" for outcome, count in config["reloads"].items() if count)
    last = config["last_reload"]
    if last is not None:
        reason = f": {last['reason']}" if last["reason"] else ""
        yield "reloads", f"{reloads}; the last {last['outcome']} at {last['at']}{reason}"
    if config["restart_required"]:
        yield "restart for", ", ".join(config["restart_required"])
    for name, bounds in (("calls", answer["gates"]), ("subscriptions", answer["subscriptions"])):
        if bounds:
            yield name, _list((each["facet"], f"{each['in_use']}/{each['limit']}") for each in bounds)
    if answer["owners"]:
        yield (
            "owners",
            _list(
                (each["name"], f"{each['state']} {each['in_flight']}/{each['limit']}{_endpoints(each)}")
                for each in answer["owners"]
            ),
        )
    if answer.get("policy") is not None:
        yield "policy", _policy(answer["policy"])
    for kind in ("gate", "queue"):
        shown = [text for part in answer["topology"] if part["kind"] == kind for text in _part(part)]
        if shown:
            yield f"{kind}s", ", ".join(shown)
    streams = f" ({answer['oap_streams']} streams)" if answer["oap_streams"] else ""
    yield "connections", _connections(answer) + streams
    if answer.get("accepting_paused"):
        paused = ", ".join(answer["accepting_paused"])
        yield (
            "accepting",
            f"paused: {paused} ({'has' if ',' not in paused else 'have'} all the connections allowed)",
        )
    buffers, overload = answer.get("buffers"), answer.get("overload")
    if buffers:
        tight = "; nothing new is begun" if buffers["tight"] else ""
        yield "memory", f"{_size(buffers['held'])} of {_size(buffers['limit'])} for callers{tight}"
    if overload and overload["shedding"] != "none":
        unready = "" if overload["fit"] else "; it has lasted, and the node is not ready"
        yield "shedding", f"{overload['shedding']}, for {_sickness(overload)}{unready}"
    if refused := [(reason, count) for reason, count in answer.get("rejected", {}).items() if count]:
        yield "refused", f"{_list(refused)} (since the start)"
    yield "reactor lag", _lag(answer["reactor_lag_s"], overload or {})


def _connections(answer: dict[str, Any]) -> str:
    """Return how many each listener has, and of how many, where the node tells that."""
    bounds = {
        figure["of"]: figure["bound"]
        for part in answer["topology"]
        if part["name"] == "connections"
        for figure in part["figures"]
    }
    return _list(
        (name, f"{count}/{bounds[name]:.0f}" if bounds.get(name) else count)
        for name, count in answer["connections"].items()
    )


def _sickness(overload: dict[str, Any]) -> str:
    """Return what the node sheds for; of memory how much it is and may be. The lag has a line."""
    if overload["reason"] != "rss" or not overload.get("rss_threshold"):
        return str(overload["reason"])
    return f"rss {_size(overload['rss'])}, of overload.rss {_size(overload['rss_threshold'])}"


def _lag(last_s: float, overload: dict[str, Any]) -> str:
    """Return the lag: where overload is judged by it, the one that is judged."""
    threshold_s = overload.get("lag_threshold_s")
    if not threshold_s:
        return f"{last_s * 1000:.1f} ms"
    return f"{overload['lag_s'] * 1000:.1f} ms, of overload.lag {threshold_s * 1000:.0f} ms"


def _part(part: dict[str, Any]) -> Iterator[str]:
    """Yield how *part* of the topology is, where there is any of it and no other line says so."""
    if part["name"] in _ELSEWHERE:
        return
    for figure in part["figures"]:
        bound = figure["bound"]
        if bound == 0 and figure["now"] == 0:
            continue
        of = f" {figure['of']}" if figure["of"] else ""
        yield f"{part['name']}{of} {figure['now']:.0f}" + ("" if bound is None else f"/{bound:.0f}")


def _endpoints(owner: dict[str, Any]) -> str:
    """Return how many endpoints of *owner* are well, where it has more than one."""
    count, healthy = owner["endpoints"]["count"], owner["endpoints"]["healthy"]
    return f" ({healthy} of {count} endpoints)" if count > 1 else ""


def _policy(policy: dict[str, Any]) -> str:
    last = policy["last_failure"]
    failed = "" if last is None else f"; no answer {_duration(last['ago_s'])} ago: {last['reason']}"
    return f"fail {policy['fail']}, {policy['known']} decisions known{failed}"


def _list(pairs: Any) -> str:
    return ", ".join(f"{name} {value}" for name, value in pairs)


def _size(count: float) -> str:
    return f"{count / 1024**2:.1f} MiB"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
