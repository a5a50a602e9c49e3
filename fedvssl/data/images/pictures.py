"""One picture file as an array."""

import cv2
import numpy as np

# A picture that was cut off lacks its end mark; OpenCV would decode it all the same, and leave the rest grey.
_FRAMES = ((b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND'))


def decode(content: bytes) -> np.ndarray:
    """Returns a picture of any format that OpenCV knows, uint8 (H, W, 3), RGB.

    Raises:
        ValueError: If it is none, or damaged.
    """
    for begin, end in _FRAMES:
        if content.startswith(begin) and end not in content:
            raise ValueError(f'is cut off after {len(content)} bytes')
    try:
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    except cv2.error as error:
        raise ValueError(f'cannot be decoded: {error.err}') from error
    if picture is None:
        raise ValueError(f'is no picture ({len(content)} bytes)')
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


def fit(picture: np.ndarray, size: int) -> np.ndarray:
    """Returns a picture whose short side was scaled to `size`, and the square in its middle cut out.

    Args:
        picture: uint8 (H, W, 3).
        size: Height and width of the result.
    """
    height, width = picture.shape[:2]
    scale = size / min(height, width)
    target = max(size, round(width * scale)), max(size, round(height * scale))
    picture = cv2.resize(picture, target, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    return picture[top:top + size, left:left + size]
