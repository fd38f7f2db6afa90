"""The tensors of a net among those of a file as trainers write it: wrapped, prefixed, with another head or without one.

What matters are the tensors below the tap, the body. Names are matched by their ends, so that any wrapper is a prefix.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from probeline.backbones.penultimate import Tap
from probeline.backbones.weights.state_dict import describe_tensor, differ, holds_numbers, two_tensors
from probeline.errors import BadWeights

State = dict[str, Tensor]

_PREFERRED = {"ema", "teacher", "online", "q"}
"""Words of a prefix whose net is the one to use, by its authors: averaged weights (timm), DINO, BYOL, MoCo."""

_WRAPPERS = frozenset({"module", "model", "net", "network", "backbone", "encoder", "state_dict"})
"""Words of a prefix that tell nothing of which net it is."""

_TRIED = 8
"""Prefixes that are compared in full, those with most names first."""

_FEW = 4
"""Names in a message."""


@dataclass(frozen=True)
class Candidate:
    """Tensors of a file below one prefix, by the net's names, and those of other names."""

    prefix: str
    state: State
    fitting: frozenset[str]
    """Names of the net's tensors that it has in the same shape."""


def load_checkpoint(
    net: nn.Module,
    tensors: Mapping[str, Tensor],
    *,
    where: Path,
    find_tap: Callable[[], Tap],
    adapt: Callable[[nn.Module, State], State] | None,
) -> tuple[str, ...]:
    """Copy what belongs to the net's body into it, and its head's if that fits; return what a user should know.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        All of the file, by name; half precision becomes the net's float32.
    find_tap : callable
        Gives the penultimate tap of the net. It is called if some names do not fit.
    adapt : callable or None
        Gives the tensors of a state dict as the net names and shapes them.

    Raises
    ------
    BadWeights
        A tensor of the body is missing or of another shape; the file has tensors of a larger body; or it has the net
        several times with other numbers.
    """
    candidates = _candidates(net, tensors, adapt)
    names = {name for name in net.state_dict() if not _is_count(name)}
    if len(candidates) == 1 and candidates[0].fitting == names == candidates[0].state.keys() - _counts(net):
        body, head = names, ""
    else:
        tap = find_tap()
        head = tap.head
        names = {name for name in net.state_dict() if not _is_count(name)}
        body = names & set(tap.tensors)
    complete = [candidate for candidate in candidates if body <= candidate.fitting]
    if not complete:
        raise _not_of(net, candidates, tensors, body, where)
    chosen, notes = _choose(complete, body, where)
    _refuse_twins(chosen.prefix, names, tensors, where)
    notes += _interpolated(chosen, tensors, body)
    extra = [name for name in chosen.state if name not in names and name not in _counts(net)]
    known = {name for name, _ in net.named_buffers()}
    extra = [name for name in extra if name not in known]
    if foreign := next((name for name in extra if _is_of_body(net, name, chosen, extra, body, head)), None):
        what, remedy = "the weights are of another net", "choose the --backbone that these weights belong to"
        got = f"{foreign} {list(chosen.state[foreign].shape)}"
        raise BadWeights(what, where=where, expected="no more tensors", got=got, remedy=remedy)
    notes += _describe_head(net, chosen, names - chosen.fitting, head)
    if extra:
        notes.append(f"not used: {_tops(extra)}")
    fitting = {name: tensor for name, tensor in chosen.state.items() if name in chosen.fitting or name in _counts(net)}
    net.load_state_dict(fitting, strict=False)
    return tuple(notes)


def _is_count(name: str) -> bool:
    return name.rpartition(".")[2] == "num_batches_tracked"


def _counts(net: nn.Module) -> set[str]:
    return {name for name in net.state_dict() if _is_count(name)}


def _candidates(
    net: nn.Module, tensors: Mapping[str, Tensor], adapt: Callable[[nn.Module, State], State] | None
) -> list[Candidate]:
    """Return the tensors below each prefix, adapted to the net, those that fit best first."""
    own = {name: tensor for name, tensor in net.state_dict().items() if not _is_count(name)}
    prefixes = [prefix for prefix, _ in _prefixes(own, tensors).most_common(_TRIED)]
    candidates = []
    for added in ("", *_shared_prefixes(own)):
        inner = {name.removeprefix(added): tensor for name, tensor in own.items() if name.startswith(added)}
        tried = prefixes if not added else [prefix for prefix, _ in _prefixes(inner, tensors).most_common(1)]
        for prefix in dict.fromkeys([*tried, ""]):
            below = {
                added + name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)
            }
            candidates.append(_best(net, own, prefix, below, adapt))
        best = max(candidates, key=lambda candidate: len(candidate.fitting))
        if len(best.fitting) * 2 > len(own):
            break
    candidates.sort(key=lambda candidate: -len(candidate.fitting))
    return [candidate for candidate in candidates if 2 * len(candidate.fitting) >= len(candidates[0].fitting)]


def _best(
    net: nn.Module, own: State, prefix: str, below: State, adapt: Callable[[nn.Module, State], State] | None
) -> Candidate:
    """Return the tensors of a prefix as they are, or adapted if more of them fit then."""
    plain = Candidate(prefix, below, _fitting(own, below))
    if adapt is None or len(plain.fitting) == len(own):
        return plain
    adapted = adapt(net, dict(below))
    fitting = _fitting(own, adapted)
    return Candidate(prefix, adapted, fitting) if len(fitting) > len(plain.fitting) else plain


def _fitting(own: State, state: State) -> frozenset[str]:
    return frozenset(
        name
        for name, tensor in own.items()
        if name in state and state[name].shape == tensor.shape and holds_numbers(state[name], like=tensor)
    )


def _prefixes(own: Mapping[str, Tensor], tensors: Iterable[str]) -> Counter[str]:
    """Return how many of the net's names follow each prefix of the file's names."""
    counts: Counter[str] = Counter()
    for name in tensors:
        words = name.split(".")
        for start in range(len(words)):
            if ".".join(words[start:]) in own:
                counts["".join(word + "." for word in words[:start])] += 1
    return counts


def unwrapped(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: Path) -> Mapping[str, Tensor]:
    """Return a file's tensors without the prefix that most of a net's names have there, if most have one.

    For libraries that fit the names to their model themselves, and know no wrappers of trainers.

    Raises
    ------
    BadWeights
        Several prefixes have the net's names.
    """
    counts = _prefixes(own, tensors)
    most = max(counts.values(), default=0)
    if 2 * most <= len(own) or counts[""] == most:
        _refuse_twins("", own, tensors, where)
        return tensors
    prefix, *others = sorted(prefix for prefix, count in counts.items() if count == most)
    if others:
        raise BadWeights(
            "the file has the network several times",
            where=where,
            expected="one",
            got=", ".join([prefix, *others]),
            remedy="save the one to use alone: torch.save(net.state_dict(), ...)",
        )
    _refuse_twins(prefix, own, tensors, where)
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _refuse_twins(prefix: str, own: Collection[str], tensors: Mapping[str, Tensor], where: Path) -> None:
    """Refuse a file with two tensors for one of the net's, such as ``module.fc.weight`` and ``fc.weight``."""
    used = {prefix + name: _unwrapped(prefix + name) for name in own if prefix + name in tensors}
    by_bare_name = {bare: name for name, bare in used.items()}
    for name, tensor in tensors.items():
        twin = by_bare_name.get(_unwrapped(name))
        if twin is not None and name not in used and differ(tensors[twin], tensor):
            raise two_tensors(where, twin, name)


def _unwrapped(name: str) -> str:
    return ".".join(word for word in name.split(".") if word not in _WRAPPERS)


def _shared_prefixes(own: Iterable[str]) -> list[str]:
    """Return the children of the net that hold most of its tensors, as prefixes: a file may be of one of them."""
    tops = Counter(name.partition(".")[0] for name in own if "." in name)
    return [top + "." for top, count in tops.most_common(1) if count > 1]


def _choose(complete: Sequence[Candidate], body: set[str], where: Path) -> tuple[Candidate, list[str]]:
    """Return the candidate to use, and what to say of the others; BadWeights if the file does not tell which."""
    distinct: list[Candidate] = []
    for candidate in complete:
        if all(any(differ(candidate.state[n], other.state[n]) for n in body) for other in distinct):
            distinct.append(candidate)
    if len(distinct) == 1:
        return distinct[0], []
    preferred = [candidate for candidate in distinct if _PREFERRED & set(re.split(r"[._]", candidate.prefix))]
    names = [candidate.prefix.rstrip(".") or "the top" for candidate in distinct]
    if len(preferred) != 1:
        raise BadWeights(
            "the weights file has this net more than once, with other numbers",
            where=where,
            expected="one net",
            got=" and ".join(names),
            remedy="save the one that you want with torch.save",
        )
    (chosen,) = preferred
    used = chosen.prefix.rstrip(".")
    rest = [name for name in names if name != used]
    return chosen, [f"{used} is used, as its authors do; {' and '.join(rest)} would fit as well"]


def _interpolated(chosen: Candidate, tensors: Mapping[str, Tensor], body: set[str]) -> list[str]:
    """Return a line for each table of positions that was interpolated."""
    changed = [
        (name, tensors[chosen.prefix + name].shape, chosen.state[name].shape)
        for name in sorted(body)
        if chosen.prefix + name in tensors and tensors[chosen.prefix + name].shape != chosen.state[name].shape
    ]
    if not changed:
        return []
    name, before, after = changed[0]
    others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
    return [f"{name} {list(before)}{others} fitted to {list(after)}"]


def _is_of_body(net: nn.Module, name: str, chosen: Candidate, extra: Sequence[str], body: set[str], head: str) -> bool:
    """Return whether a tensor that the net does not have would change its embedding, as far as names tell.

    It would inside a module of the body (a further block), as a further token or table of positions, or as a norm.
    """
    parents = list(_parents(name))
    if {head, *_parents(head)} & set(parents):
        return False
    modules = {path for path, _ in net.named_modules()}
    inside = next((path for path in reversed(parents) if path in modules), None)
    top, dot, _ = name.partition(".")
    if inside is not None and any(other.startswith(inside + ".") for other in body):
        return top != "head"
    if re.search(r"mask|decoder|queue|center|head|proj|predict", top):  # what pretraining puts on top
        return False
    if not dot:
        return bool(re.search(r"token|pos|embed", top))
    return all(chosen.state[other].ndim < 2 for other in extra if other.startswith(top + "."))


def _parents(path: str) -> Iterator[str]:
    words = path.split(".")
    return (".".join(words[:end]) for end in range(1, len(words)))


def _describe_head(net: nn.Module, chosen: Candidate, unfilled: set[str], head: str) -> list[str]:
    """Return a line for the net's own tensors that the file does not fill."""
    own = net.state_dict()
    of_head = sorted(name for name in unfilled if name.startswith(head + "."))
    others = sorted(unfilled - set(of_head))
    lines = []
    if wrong := [name for name in reversed(of_head) if name in chosen.state]:
        got = describe_tensor(chosen.state[wrong[0]], like=own[wrong[0]])
        lines.append(f"another head ({wrong[0]} {got}, not {list(own[wrong[0]].shape)}), which features do not need")
    elif of_head:
        lines.append(f"no head ({head}), which features do not need")
    if others:
        lines.append(f"not in the file, and not needed by features: {_tops(others)}")
    return lines


def _tops(names: Iterable[str]) -> str:
    """Return the first words of some names, the first few."""
    tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
    return ", ".join(tops[:_FEW]) + (f" and {len(tops) - _FEW} more" if len(tops) > _FEW else "")


def _not_of(
    net: nn.Module, candidates: Sequence[Candidate], tensors: Mapping[str, Tensor], body: set[str], where: Path
) -> BadWeights:
    """Return the error for a file whose best candidate does not fill the body."""
    own = net.state_dict()
    best = max(candidates, key=lambda candidate: len(candidate.fitting & body))
    fitting = len(best.fitting & body)
    ordered = [name for name in own if name in body]
    counted = f"{fitting} of {len(ordered)} tensors match"
    remedy = "choose the --backbone that these weights belong to"
    wrong = [name for name in ordered if name in best.state and name not in best.fitting]
    if wrong:
        name, tensor = wrong[0], best.state[wrong[0]]
        kind = "" if tensor.shape != own[name].shape else f" as plain {_kind(own[name])} numbers"
        shape = "" if kind else f" {list(own[name].shape)}"
        got = describe_tensor(tensor, like=own[name])
        what = f"the weights are of another net: {counted}"
        return BadWeights(what, where=where, expected=f"{name}{shape}{kind}", got=got, remedy=remedy)
    missing = [name for name in ordered if name not in best.state]
    if fitting:
        more = f" and {len(missing) - _FEW} more" if len(missing) > _FEW else ""
        what = f"the weights file lacks tensors of the net: {counted}; missing: {', '.join(missing[:_FEW])}{more}"
        return BadWeights(what, where=where, remedy=remedy)
    first = next(iter(tensors))
    expected = f"tensors such as {ordered[0]} {list(own[ordered[0]].shape)}"
    got = f"{len(tensors)} such as {first} {list(tensors[first].shape)}"
    return BadWeights(
        "the weights are of another net: none matches", where=where, expected=expected, got=got, remedy=remedy
    )


def _kind(tensor: Tensor) -> str:
    return "real" if tensor.is_floating_point() else "whole"
