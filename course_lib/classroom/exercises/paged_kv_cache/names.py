"""What an answer may use without importing it: the notebook provides it."""

import itertools
from collections import OrderedDict, deque

import mlx.core as mx
import numpy as np

from ....techniques.paged_kv import OutOfBlocks

NAMES = {
    "mx": mx, "np": np, "itertools": itertools, "OrderedDict": OrderedDict, "deque": deque, "OutOfBlocks": OutOfBlocks,
}  # fmt: skip
