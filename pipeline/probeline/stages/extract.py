"""Extract: each frozen backbone once over each part, into the cache; what is there and proven is left alone."""

from __future__ import annotations

from probeline.errors import BadData
from probeline.stages.engine import Engine, title
from probeline.stages.inputs import Inputs
from probeline.store import entry as store


def run(inputs: Inputs) -> None:
    """Make sure that the embeddings of every backbone over every part are in the cache.

    Raises
    ------
    BadData
        Names the images that cannot be read; all shards without them are written.
    ProbelineError
    """
    unreadable: list[str] = []
    for name in inputs.config.backbones:
        backbone, loaded = inputs.backbone(name)
        entries = [inputs.entry(backbone, part) for part in inputs.parts()]
        todo = {entry.part.name: store.missing(entry) for entry in entries}
        engine: Engine | None = None
        for entry in entries:
            if todo[entry.part.name]:
                engine = engine or Engine(inputs, backbone, loaded)
                try:
                    engine.fill(entry, todo[entry.part.name])
                except BadData as error:
                    unreadable.append(str(error))
            else:
                hashed = store.prove(entry)
                inputs.config.console.say(
                    f"extract: {title(entry, backbone)}: {len(entry.part):,} embeddings are in {entry.folder}, "
                    f"every shard proven ({hashed / 1e6:.1f} MB hashed)"
                )
    if unreadable:
        raise BadData("; ".join(unreadable))
