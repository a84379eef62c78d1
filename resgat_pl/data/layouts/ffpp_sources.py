"""FaceForensics++ clips that come from one YouTube video."""

from __future__ import annotations

from typing import Final

_GROUPS: Final = (
    "331/332 524/525 566/567 605/606 614/615 618/619 639/640 685/686/687 755/756 766/767 769/770 787/788 837/838 "
    "875/876 883/884 937/938 942/943 954/955 967/968 973/974 982/983 993/994"
)
SAME_SOURCE: Final[tuple[tuple[str, ...], ...]] = tuple(tuple(group.split("/")) for group in _GROUPS.split())
"""All FaceForensics++ clips that were cut from one YouTube video, so that they show one person: 977 videos make the
1,000 clips. Computed from ``dataset/conversion_dict.json`` of the repository ondyari/FaceForensics (MIT). Seven of the
groups cross the official splits (605/606, 639/640, 755/756, 837/838, 875/876, 954/955 and 982/983); 755/756 and 954/955
are in train and test."""
