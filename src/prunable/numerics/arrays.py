"""The array type of most numbers here."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
