"""Embeddings for a notebook: each `# %%` is a cell (VS Code, Spyder and `jupytext --to ipynb` understand them)."""

# %% The model, and windows of a recording: (N, 6, 150), one every second
from pathlib import Path

import numpy as np

import mujo_edge
from mujo_edge import ModelBundle, recognize, replay

bundle = ModelBundle.load()
folder = Path(mujo_edge.__file__).parent / "assets/recordings/spar-10"
samples = np.genfromtxt(folder / "samples.csv", delimiter=",", skip_header=1, usecols=range(1, 7), dtype=np.float32)
labels = np.genfromtxt(folder / "samples.csv", delimiter=",", skip_header=1, usecols=8, dtype=str)
windows = np.lib.stride_tricks.sliding_window_view(samples, bundle.input.window, axis=0)[::50]
labels = labels[bundle.input.window - 1 :: 50]

# %% Embeddings have length 1, so a dot product is a cosine
z = bundle.embed(windows)
print(z.shape, "windows x values")

# %% The window that is most like the first one, 10 s or more away from it
likeness = z @ z[0]
nearest = 10 + int(likeness[10:].argmax())
print(f"most like {labels[0]}: {labels[nearest]} (cosine {likeness[nearest]:.2f})")

# %% A map of them: the first two principal components, ready for a scatter plot
centered = z - z.mean(0)
_, _, axes = np.linalg.svd(centered, full_matrices=False)
flat = centered @ axes[:2].T
for name in dict.fromkeys(labels.tolist()):
    print(f"{name:22} center {flat[labels == name].mean(0).round(2)}")

# %% How well a nearest neighbor names windows from the second half of each exercise by those of the first
first = np.concatenate([np.flatnonzero(labels == name)[:9] for name in dict.fromkeys(labels.tolist())])
later = np.setdiff1d(np.arange(len(z)), first)
right = labels[first][(z[later] @ z[first].T).argmax(1)] == labels[later]
print(f"{100 * right.mean():.0f} % right by the nearest neighbor")

# %% Live embeddings: the blocking form works in a notebook, where an event loop runs already
live = np.stack([prediction.embedding for prediction in recognize(replay(), bundle=bundle, duration_s=30.0)])
print(live.shape, "from the stream")
