"""Names of the parts of the face, which networks, losses and reports share."""

from __future__ import annotations

from typing import Final

REGIONS: Final = (
    "left eye",
    "right eye",
    "nose",
    "mouth",
    "left cheek",
    "right cheek",
    "forehead",
    "chin",
    "background",
)
"""Left and right are the image's, as the viewer sees them. An eye includes its brow, a cheek the jaw beside the mouth;
ears, hair and neck are background."""
FACE_REGIONS: Final = REGIONS[:-1]
"""Those inside the face, in the same order."""
