"""The card of an artifact: what it is, what was measured of it, and its limits."""

from __future__ import annotations

from probeline.environment import describe_environment
from probeline.export.artifact.record import Artifact
from probeline.export.format import HEAD, ONNX, PT2, RECORD, ROW_NAMES, ROWS, WEIGHTS
from probeline.format import decimals, escape, option, percent
from probeline.heads.temperature import LIMITS
from probeline.names import Method, describe_tap
from probeline.results.methods import method_info
from probeline.text import printable_lines

_MOST_CLASSES = 50
"""If there are more, only their number is given; the record holds all."""


def card(artifact: Artifact) -> str:
    """Return the card in Markdown; every number in it comes from the record."""
    measured = artifact.row
    title = f"{measured.backbone} on {measured.dataset}: {method_info(measured.method).title}"
    title = ", ".join(filter(None, (title, describe_tap(measured.tap, measured.views))))
    lines = [
        f"# {escape(title)}",
        "",
        f"A predictor that `probeline export` wrote. It answers one of {len(artifact.classes)} classes:",
        f"{_classes(artifact)}.",
        "",
        "    probeline predict IMAGE... --artifact FOLDER",
        "",
        "    import probeline",
        '    probeline.load("FOLDER").predict(["a.jpg", "b.png"]).classes',
        "",
    ]
    sections = {"Measured": _measured, "How an image is read": _reading, "Files": _files, "Limits": _limits}
    for heading, section in sections.items():
        lines += [f"## {heading}", "", *(f"* {line}" for line in section(artifact)), ""]
    return printable_lines("\n".join(lines))


def _classes(artifact: Artifact) -> str:
    few = artifact.classes[:_MOST_CLASSES]
    more = len(artifact.classes) - len(few)
    return ", ".join(escape(name) for name in few) + (f" and {more:,} more" if more else "")


def _measured(artifact: Artifact) -> list[str]:
    row = artifact.row
    places = decimals([row.n_test])
    low, high = (percent(end, places) for end in row.interval)
    chosen = ", ".join(option(name, value) for name, value in row.chosen.items())
    seed = "no seed: nothing is random" if row.seed is None else f"seed {row.seed}"
    auroc = "" if row.auroc is None else f", AUROC {percent(row.auroc, places)} %"
    lines = [
        f"test top-1 {percent(row.top1, places)} % (Wilson's 95 % interval {low} to {high} %, "
        f"n = {row.n_test:,}), macro {percent(row.macro, places)} %{auroc}, {seed}",
        f"with the temperature {artifact.temperature:.4g}, fitted on val: NLL {row.nll:.4g}, Brier's score "
        f"{row.brier:.4g}, ECE {row.ece:.4g}; without it NLL {row.raw_nll:.4g}, ECE {row.raw_ece:.4g}",
        f"{row.dataset}: {row.n_train:,} train, {row.n_val:,} val and {row.n_test:,} test images; "
        + (f"{chosen} chosen by {row.chosen_by}" if chosen and row.chosen_by else chosen or "nothing was chosen")
        + "; test was read once, after the choice",
        f"{row.trainable:,} of {row.total:,} parameters were trained; net {row.backbone}, "
        f"weights {row.weights}, {row.precision}",
        f"on {describe_environment(row.environment)}",
        f"score key {row.key[:12]}",
    ]
    if not row.converged:
        lines.append("its fit stopped before its tolerance")
    if row.proof:
        lines.append(row.proof)
    return [escape(line) for line in lines]


def _reading(artifact: Artifact) -> list[str]:
    preprocess = artifact.preprocess
    sides = "the shorter side" if preprocess.resize_mode == "shorter" else "both sides"
    mean, std = (", ".join(f"{value:.6g}" for value in values) for values in (preprocess.mean, preprocess.std))
    return [
        f"decoded to RGB, upright by its EXIF orientation, transparency on black; {sides} resized to "
        f"{preprocess.resize} pixels ({preprocess.interpolation}, antialiased, by Pillow), the centre of "
        f"{preprocess.crop} x {preprocess.crop} cut out",
        f"then (pixel / 255 - mean) / std with mean {mean} and std {std}",
    ]


def _files(artifact: Artifact) -> list[str]:
    inside = "the head on its features, with their scaler"
    if artifact.net.own_head:
        inside = "the last layer of the net"
    elif artifact.row.method == Method.KNN:
        inside = "the standardised features and the classes of all train rows, which vote, and their scaler"
    elif artifact.row.method == Method.KNN_WEIGHTED:
        inside = "the features and the classes of all train rows, which vote, and the temperature of their votes"
    lines = [
        f"`{RECORD}`: classes, temperature, preprocessing and the numbers above, with the sha256 of every file; sealed",
        f"`{WEIGHTS}`: the net's tensors, by the names that the net itself has for them",
        f"`{HEAD}`: {inside}",
    ]
    if artifact.neighbours:
        lines.append(f"`{ROWS}`, `{ROW_NAMES}`: features of {artifact.neighbours.rows:,} train images, and their ids")
    for name, what in ((PT2, "torch.export"), (ONNX, "ONNX")):
        if facts := artifact.graphs.get(name):
            side = artifact.preprocess.crop
            opset = "" if facts.opset is None else f", opset {facts.opset}"
            given = f"uint8 [N, {side}, {side}, 3]"
            lines.append(
                f"`{name}`: {what}{opset}, by torch {escape(facts.torch)}. In goes `pixels`, {given} for any N, "
                "cropped and resized already: the resize is Pillow's and stays outside. Out come `logits` and "
                f"`probabilities`, float32 [N, {len(artifact.classes)}]: normalisation and temperature are inside. "
                f"Checked on {facts.images} real images: its logits differ from the pipeline's by at most "
                f"{facts.difference:.1e} of an image's largest logit"
            )
    return lines


def _limits(artifact: Artifact) -> list[str]:
    measured = artifact.row
    lines = [
        f"It gives one of its {len(artifact.classes)} classes for every image, also for an image of none of them.",
        f"The numbers hold for images like the {measured.n_test:,} of the test set; nothing was measured on others.",
        "Probabilities were calibrated on val as a whole, not class by class.",
    ]
    if near := artifact.neighbours:
        lines.append(
            f"An image is flagged `unlike` if its neighbour number {near.k} among {near.rows:,} train images is "
            f"farther (cosine distance of features, {near.threshold:.4g}) than for {100 * near.quantile:g} % of "
            f"the train images; so are {percent(near.test_share, 1)} % of the test images. It is a hint, not a "
            "test: what the net finds similar may still be something else."
        )
    else:
        lines.append("It holds no train images, so it cannot flag images that are unlike anything in training.")
    if measured.method in (Method.KNN, Method.KNN_WEIGHTED):
        lines.append("The features of every train image are in this folder, since they vote: whoever has it has them.")
    if artifact.temperature in LIMITS:
        lines.append("Its temperature is at the edge of the range that was searched.")
    lines.append("Data sets and pretrained weights have licences of their own.")
    return lines
