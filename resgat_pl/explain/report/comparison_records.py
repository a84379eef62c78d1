"""Parts of the document of ``resgat explain`` that compare the file with an original of the case."""

from __future__ import annotations

from dataclasses import dataclass, field

from resgat_pl.explain.custody.record import FileHash


@dataclass(frozen=True)
class RestoredFace:
    """One face with the original's pixels put back, in the frame that speaks most for its verdict.

    Regions and nodes are put back one after another, those first that speak most for the verdict, until the whole crop
    is the original's. So the changes of the logit add up to ``original_logit − logit`` exactly.

    Attributes:
        face: ``FaceTrack.number``.
        frame: ``FaceFrame.index``.
        logit: Of the file's crop.
        original_logit: Of the same crop of the original.
        limit: Logit above which a crop is called fake; None where the threshold has no finite one.
        regions: Names of the regions, in the order in which they were put back; a node goes with the region that has
            most of its cell.
        region_changes: Change of the logit by each of ``regions``, put back after those before it.
        nodes: Numbers of the nodes, row by row from the top left, in the order in which they were put back.
        node_counts: Numbers of nodes after which the logit was taken, rising; the last is all of them.
        node_changes: Change of the logit since the count before.
        named: Regions that speak for the verdict, strongest first; with all their nodes put back the logit is
            ``named_logit``.
        named_logit: See ``named``; None where none is named.
        named_nodes: Number of their nodes.
        random_logit: Mean logit with as many random nodes put back instead.
        random_turned: Share of the random draws that turn the verdict.
        turned_by: Number of nodes, of ``nodes``, from which on the verdict is the other one; None where it is not, or
            where the original is judged alike.
        difference: Mean absolute difference of the two crops, in grey levels of 255.
        sentence: The finding in words.
        png: *Not in the JSON.* Both crops, their difference and the crop with the named regions put back.
    """

    face: int
    frame: int
    logit: float
    original_logit: float
    limit: float | None
    regions: list[str]
    region_changes: list[float]
    nodes: list[int]
    node_counts: list[int]
    node_changes: list[float]
    named: list[str]
    named_logit: float | None
    named_nodes: int
    random_logit: float | None
    random_turned: float | None
    turned_by: int | None
    difference: float
    sentence: str
    png: bytes = field(default=b"", repr=False, metadata={"json": False})


@dataclass(frozen=True)
class OriginalComparison:
    """The file beside an original of the case.

    Attributes:
        original: The original, hashed before it was decoded.
        share: Share of what is around the faces that shows the same in both, in [0, 1]; None where it is too plain.
        statement: The same in words.
        faces: One for each face that was judged.
    """

    original: FileHash
    share: float | None
    statement: str
    faces: list[RestoredFace]
