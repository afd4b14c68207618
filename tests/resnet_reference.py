"""ResNet-18 and ResNet-50 (v1.5) in plain NumPy, under torchvision's names: a test oracle."""

import numpy as np
from safetensors.numpy import save_file

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
EPS = 1e-5


def _norm_shapes(name, channels):
    """name -> the five entries of a batch norm over `channels`, in torchvision's order."""
    entries = ("weight", "bias", "running_mean", "running_var")
    shapes = {f"{name}.{entry}": (channels,) for entry in entries}
    return {**shapes, f"{name}.num_batches_tracked": ()}


def _block_shapes(block, depth, inside, width, stride):
    """Entries of one block from `inside` channels; basic gives width, bottleneck 4 * width."""
    if depth == 18:
        convs = [(width, inside, 3), (width, width, 3)]
    else:
        convs = [(width, inside, 1), (width, width, 3), (4 * width, width, 1)]
    shapes = {}
    for i, (out, into, side) in enumerate(convs, 1):
        shapes[f"{block}.conv{i}.weight"] = (out, into, side, side)
        shapes.update(_norm_shapes(f"{block}.bn{i}", out))
    out = convs[-1][0]
    if stride != 1 or inside != out:
        shapes[f"{block}.downsample.0.weight"] = (out, inside, 1, 1)
        shapes.update(_norm_shapes(f"{block}.downsample.1", out))
    return shapes, out


def state_shapes(name, num_classes):
    """'resnet18' or 'resnet50' -> {entry: shape}, in the order of torchvision's state_dict."""
    depth = {"resnet18": 18, "resnet50": 50}[name]
    shapes = {"conv1.weight": (64, 3, 7, 7), **_norm_shapes("bn1", 64)}
    channels = 64
    for stage, count in enumerate(BLOCKS[depth]):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            block = f"layer{stage + 1}.{i}"
            entries, channels = _block_shapes(block, depth, channels, 64 << stage, stride)
            shapes.update(entries)
    return {**shapes, "fc.weight": (num_classes, channels), "fc.bias": (num_classes,)}


def learnable_count(shapes):
    """{entry: shape} -> number of learnable scalars: neither statistics nor batch counts."""
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return sum(int(np.prod(shape)) for key, shape in shapes.items() if not key.endswith(buffers))


def random_state(name, num_classes, rng):
    """A Generator -> {entry: float32 array, or int64 ()}, activations of order one throughout."""
    last = "bn2" if name == "resnet18" else "bn3"
    state = {}
    for key, shape in state_shapes(name, num_classes).items():
        layer, entry = key.rsplit(".", 1)
        if entry == "num_batches_tracked":
            state[key] = np.array(rng.integers(1, 1000), np.int64)
            continue
        if len(shape) == 4:
            # He's 2 makes up for the ReLU; with it here too, evaluation would grow per stage.
            gain = 1 if key == "conv1.weight" or "downsample" in key else 2
            value = rng.normal(0, np.sqrt(gain / np.prod(shape[1:])), shape)
        elif len(shape) == 2:
            value = rng.normal(0, np.sqrt(1 / shape[1]), shape)
        elif entry == "running_mean":
            value = rng.uniform(-0.1, 0.1, shape)
        elif entry == "running_var":
            value = rng.uniform(0.5, 1.5, shape)
        elif entry == "bias":
            value = rng.uniform(-0.3, 0.3, shape)
        else:
            # Small branches: sums do not grow, and float32 under test stays well conditioned.
            value = rng.uniform(0.5, 1.5, shape) * (0.25 if layer.endswith(last) else 1.0)
        state[key] = value.astype(np.float32)
    return state


def _windows(x, side, stride, fill):
    """(N,C,H,W) -> (N,C,H',W',side,side), padded by side // 2 with `fill`."""
    pad = side // 2
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)), constant_values=fill)
    view = np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(2, 3))
    return view[:, :, ::stride, ::stride]


def _conv(x, weight, stride=1):
    """(N,C,H,W), (O,C,k,k) -> (N,O,H',W')."""
    patches = _windows(x, weight.shape[-1], stride, 0.0).transpose(0, 2, 3, 1, 4, 5)
    n, h, w = patches.shape[:3]
    out = patches.reshape(n * h * w, -1) @ weight.reshape(len(weight), -1).T
    return out.reshape(n, h, w, -1).transpose(0, 3, 1, 2)


def _norm(x, state, name, training):
    """(N,C,H,W) -> same, normalised per channel by the batch's or the running statistics."""
    if training:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
    else:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    scale = state[f"{name}.weight"] / np.sqrt(var + EPS)
    shift = state[f"{name}.bias"] - mean * scale
    return x * scale[:, None, None] + shift[:, None, None]


def _block(x, state, block, strides, training):
    """(N,C,H,W) -> (N,C',H',W'): the chain of convolutions plus the shortcut, then ReLU."""
    out = x
    for i, stride in enumerate(strides, 1):
        # The block's input is rectified already: for it this ReLU changes nothing.
        out = _conv(np.maximum(out, 0), state[f"{block}.conv{i}.weight"], stride)
        out = _norm(out, state, f"{block}.bn{i}", training)
    if f"{block}.downsample.0.weight" in state:
        x = _conv(x, state[f"{block}.downsample.0.weight"], max(strides))
        x = _norm(x, state, f"{block}.downsample.1", training)
    return np.maximum(out + x, 0)


def forward(state, images, training=False):
    """Images (N,3,H,W) -> float64 logits (N,num_classes); training=True: batch statistics."""
    state = {key: np.asarray(value, np.float64) for key, value in state.items()}
    depth = 50 if "layer1.0.conv3.weight" in state else 18
    x = _conv(np.asarray(images, np.float64), state["conv1.weight"], 2)
    x = np.maximum(_norm(x, state, "bn1", training), 0)
    x = _windows(x, 3, 2, -np.inf).max(axis=(4, 5))
    for stage, count in enumerate(BLOCKS[depth]):
        for i in range(count):
            stride = 2 if stage > 0 and i == 0 else 1
            # v1.5: a bottleneck strides in its 3x3 convolution, a basic block in its first.
            strides = (stride, 1) if depth == 18 else (1, stride, 1)
            x = _block(x, state, f"layer{stage + 1}.{i}", strides, training)
    return x.mean(axis=(2, 3)) @ state["fc.weight"].T + state["fc.bias"]


def torch_file(path, name="resnet18", num_classes=5, seed=0, **changes):
    """A .safetensors file in torchvision's layout; returns its arrays."""
    state = random_state(name, num_classes, np.random.default_rng(seed))
    for key, value in changes.items():
        state[key] = value
    save_file({key: np.ascontiguousarray(value) for key, value in state.items()}, path)
    return state
